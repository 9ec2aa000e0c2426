"""`prepare` killed (kill -9) in every stage and run again: the same bytes as without."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.generated_text import contents, make_documents

from fairseq_minimodel.corpus import prepare as module

PACKAGE = Path(module.__file__).parents[2]

# Runs prepare with small buckets; in the process or worker that calls `function` for the `count`th
# time, the command's process is killed right after (`when` = after) or before the call.
SCRIPT = """
import functools, os, signal, sys
sys.argv[0] = "fairseq-minimodel"
from fairseq_minimodel.corpus import assemble, buckets, prepare as module, vocabulary
text, output, workers, owner, function, count, when = sys.argv[1:]
owner = globals().get(owner)
buckets.SMALL_BUCKET_BYTES, buckets._BATCH_BYTES, buckets._WRITE_BUFFER_BYTES = 3000, 1000, 5000
command, calls = os.getpid(), 0

def killing(original):
    @functools.wraps(original)
    def call(*arguments):
        global calls
        calls += 1
        if calls == int(count) and when == "before":
            os.kill(command, signal.SIGKILL)
        result = original(*arguments)
        if calls == int(count) and when == "after":
            os.kill(command, signal.SIGKILL)
        return result
    call.__module__ = owner.__name__  # where a worker finds it
    return call

if function:
    setattr(owner, function, killing(getattr(owner, function)))
module.prepare([text], output, workers=int(workers), valid_fraction=0.1)
"""

MOMENTS = [
    ("buckets", "_append", 3, "after"),  # reading
    ("module", "plan_splits", 1, "before"),  # everything read
    ("vocabulary", "train_sentencepiece", 1, "after"),
    ("vocabulary", "_train", 1, "after"),
    ("module", "encode_bucket", 4, "after"),  # some buckets encoded
    ("module", "encode_bucket", 5, "before"),
    ("assemble", "_join", 1, "after"),  # the output half written
    ("assemble", "write_dictionary", 1, "after"),
    ("module", "_report", 1, "before"),  # the output in place, work not yet removed
]


def run(text, output, workers, moment=("", "", 0, "")):
    """Returns (exit code, what it printed), after every process of the run has ended."""
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", SCRIPT, text, output, workers, *moment]
    process = subprocess.Popen(
        list(map(str, command)),
        env=environment,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    log = process.stdout.read()  # ends when the last process that holds it has ended
    process.wait()
    for _ in range(200):
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return process.returncode, log
        time.sleep(0.1)
    pytest.fail("worker processes outlive the command")


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text("\n\n".join(make_documents(300)), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def uninterrupted(text, tmp_path_factory):
    output = tmp_path_factory.mktemp("uninterrupted") / "data"
    assert run(text, output, workers=1)[0] == 0
    return contents(output)


@pytest.mark.parametrize(("owner", "function", "count", "when"), MOMENTS)
@pytest.mark.slow
def test_killed_and_run_again(text, uninterrupted, tmp_path, owner, function, count, when):
    output = tmp_path / "data"
    code, _ = run(text, output, 2, (owner, function, count, when))
    assert code == -9
    assert (tmp_path / ".data.work").exists()
    for half_written in (tmp_path / ".data.work" / "buckets").glob("*.texts"):
        if function == "_append":  # as if it had been killed inside of the write
            half_written.write_bytes(half_written.read_bytes()[:-1])
    finished = function == "_report"
    assert output.exists() == finished  # never half an output

    code, log = run(text, output, workers=3)
    assert code == 0, log
    assert contents(output) == uninterrupted
    assert ("nothing to do" in log) == finished
    if not finished:
        assert "going on with an interrupted run" in log
        assert ("training the vocabulary" in log) == (
            MOMENTS.index((owner, function, count, when)) < 3
        )
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


@pytest.mark.slow
def test_changed_text_or_options_never_meet_old_work(text, uninterrupted, tmp_path):
    changed = tmp_path / "text.txt"
    changed.write_bytes(text.read_bytes())
    output = tmp_path / "data"
    assert run(changed, output, 2, ("module", "encode_bucket", 4, "after"))[0] == -9
    stat = changed.stat()
    changed.write_text("\n\n".join(make_documents(300, seed=1)), encoding="utf-8")
    os.utime(changed, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    code, log = run(changed, output, workers=1)
    assert code == 0
    assert "going on" not in log
    assert run(changed, tmp_path / "fresh", workers=1)[0] == 0
    assert contents(output) == contents(tmp_path / "fresh") != uninterrupted


def test_two_at_once_are_refused(text, tmp_path):
    import fcntl

    (tmp_path / ".data.work").mkdir(mode=0o700)
    holder = subprocess.Popen(
        [sys.executable, "-c", "import fcntl, sys\n"
         "lock = open(sys.argv[1], 'w'); fcntl.lockf(lock, fcntl.LOCK_EX)\n"
         "print('held', flush=True); sys.stdin.read()", str(tmp_path / ".data.work" / "lock")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        holder.stdout.readline()
        with pytest.raises(module.InputError, match="Another process is preparing"):
            module.prepare([text], tmp_path / "data", workers=1)
    finally:
        holder.communicate()
    with open(tmp_path / ".data.work" / "lock", "w") as lock:
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)

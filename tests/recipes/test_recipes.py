"""The recipes of the paper's benchmarks at their SMOKE=1 size: by themselves, resumed, on SLURM."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
from support.scripts import EXAMPLES, run_script


def write_stub(folder, name, script):
    """A program that stands in for one that is not here."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/bash\n{script}\n")
    (folder / name).chmod(0o755)


def done_at(out):
    return {path.name: path.stat().st_mtime_ns for path in (out / "logs").glob("*.done")}


@pytest.fixture(scope="module")
def xnli(tmp_path_factory):
    """One run, from nothing to the table, in a folder whose name shells and hydra could cut."""
    out = tmp_path_factory.mktemp("xnli") / "Ann's results, new (1)"
    result = run_script(EXAMPLES / "xnli/run.sh", OUT=out)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    return out.with_name(f"{out.name}-smoke"), result.stdout


@pytest.mark.slow
def test_xnli_from_text_to_table(xnli):
    out, printed = xnli
    header, _, *rows = [line for line in printed.splitlines() if line.startswith("|")]
    assert re.findall(r"\w+", header) == ["items", "Standard", "MiniJoint", "MiniPost"]
    assert [row.split()[1] for row in rows] == ["en", "de", "mean"]
    for variant in ("standard", "minijoint", "minipost"):
        scores = json.loads((out / f"seed1/scores/xnli-{variant}.json").read_text())
        assert [score["examples"] for score in scores] == [60, 60]
        assert f"{100 * scores[1]['accuracy']:.1f}" in rows[1]
        description = json.loads((out / f"seed1/packs/{variant}/de/language.json").read_text())
        assert description["updates"] == 4
        assert description["depth"] == {"standard": 4, "minijoint": 2, "minipost": 3}[variant]


@pytest.mark.slow
def test_again_does_only_what_is_missing(xnli):
    out, _ = xnli
    before = done_at(out)
    for path in (
        out / "logs/evaluate:1:xnli:minijoint.done",
        out / "seed1/scores/xnli-minijoint.json",
    ):
        path.unlink()
    result = run_script(EXAMPLES / "xnli/run.sh", OUT=str(out).removesuffix("-smoke"))
    assert result.returncode == 0, result.stdout + result.stderr
    after = done_at(out)
    assert {name for name in after if after[name] != before[name]} == {
        "evaluate:1:xnli:minijoint.done"
    }
    assert "evaluate:1:xnli:minijoint" in result.stdout and "adapt" not in result.stdout


@pytest.mark.slow
def test_a_step_that_fails_says_why_and_can_be_run_again(xnli):
    out, _ = xnli
    model = out / "joint/checkpoint_last.pt"
    (out / "logs/adapt:1:minijoint:de.done").unlink()
    (out / "seed1/adapted/minijoint-de/checkpoint_last.pt").unlink()
    model.rename(out / "elsewhere.pt")
    smoke = str(out).removesuffix("-smoke")
    result = run_script(EXAMPLES / "xnli/run.sh", "adapt:1:minijoint:de", OUT=smoke)
    assert result.returncode != 0
    assert "failed" in result.stdout and str(model) in result.stdout
    (out / "elsewhere.pt").rename(model)
    result = run_script(EXAMPLES / "xnli/run.sh", "adapt:1:minijoint:de", OUT=smoke)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.slow
def test_other_settings_and_unknown_steps_are_refused(xnli):
    out, _ = xnli
    smoke = str(out).removesuffix("-smoke")
    result = run_script(EXAMPLES / "xnli/run.sh", "adapt:1:minijoint:xx", OUT=smoke)
    assert result.returncode == 2 and "there is no step adapt:1:minijoint:xx" in result.stderr
    result = run_script(EXAMPLES / "xnli/run.sh", OUT=smoke, STANDARD_BODY="plain", BATCH="3")
    assert result.returncode == 0  # what these say is not what the results depend on
    (out / "settings.txt").write_text("DEPTH=1\n")
    result = run_script(EXAMPLES / "xnli/run.sh", OUT=smoke)
    assert result.returncode == 2 and "holds results of other settings" in result.stderr


@pytest.mark.slow
def test_pawsx(tmp_path):
    result = run_script(
        EXAMPLES / "pawsx/run.sh", OUT=tmp_path / "out", VARIANTS="minijoint", PRECISION="bf16"
    )
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    assert (
        "pawsx: accuracy (%; chance 50.0 %, always the most frequent label 50.0 %)" in result.stdout
    )


@pytest.fixture
def slurm(tmp_path):
    """Stubs that run each job when it is submitted, on one node, and note how it was."""
    stubs = tmp_path / "slurm"
    write_stub(
        stubs,
        "sbatch",
        f"""echo "$@" >>{stubs}/jobs
while [[ $1 == --* ]]; do case $1 in --output=*) log=${{1#--output=}};; esac; shift; done
id=$(($(wc -l <{stubs}/jobs) + 100))
SLURM_JOB_ID=$id SLURM_NNODES=1 SLURM_JOB_NODELIST=localhost bash "$@" >"${{log/\\%x/$id}}" 2>&1 ||
  echo "$id failed" >>{stubs}/failed
echo "$id;cluster" """,
    )
    write_stub(stubs, "scontrol", 'if [ "$1" = show ]; then echo localhost; fi')
    write_stub(stubs, "srun", 'while [[ $1 == --* ]]; do shift; done; exec "$@"')
    return stubs


@pytest.mark.slow
def test_mlqa_on_slurm_with_two_processes(slurm, tmp_path):
    """Training runs in two processes that torchrun starts, and talk by gloo."""
    out = tmp_path / "out-smoke"
    result = run_script(
        EXAMPLES / "slurm/submit.sh", EXAMPLES / "mlqa/run.sh", STUBS=slurm,
        OUT=tmp_path / "out", VARIANTS="minijoint", GPUS_PER_NODE="2",
    )  # fmt: skip
    logs = {path.name: path.read_text() for path in (tmp_path / "out/slurm").iterdir()}
    assert result.returncode == 0 and not (slurm / "failed").exists(), logs
    jobs = dict(reversed(line.split()[:2]) for line in result.stdout.splitlines())
    submitted = (slurm / "jobs").read_text().splitlines()
    assert len(submitted) == len(jobs) == len(logs)
    by_step = {line.split()[-2]: line for line in submitted}
    after = re.search(r"--dependency=afterok:([\d:]+)", by_step["evaluate:1:mlqa:minijoint"])
    assert set(after[1].split(":")) == {jobs["finetune:1:mlqa:joint"], jobs["adapt:1:minijoint:de"]}
    assert "--requeue" in by_step["pretrain:joint"]
    assert "--gpus-per-node=2" in by_step["pretrain:joint"]
    assert "--gpus-per-node" not in by_step["prepare:en"]
    assert "'distributed_world_size': 2" in (out / "logs/pretrain:joint.log").read_text()
    table = logs[f"{jobs['table']}.log"]
    assert "mlqa: F1 (%); 95 % intervals" in table


def test_a_job_at_the_end_of_its_time_is_queued_again(tmp_path):
    stubs = tmp_path / "stubs"
    write_stub(stubs, "scontrol", f'echo "$@" >>{stubs}/calls')
    write_stub(stubs, "recipe", "sleep 60")
    job = subprocess.Popen(
        ["bash", EXAMPLES / "slurm/step.sh", "prepare:en", "cpu"],
        env={**os.environ, "RECIPE": str(stubs / "recipe"), "SLURM_JOB_ID": "7",
             "PATH": f"{stubs}:{os.environ['PATH']}"},
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    while (
        job.poll() is None
        and not subprocess.run(
            ["pgrep", "-P", str(job.pid)], capture_output=True, check=False
        ).stdout
    ):
        pass
    subprocess.run(["kill", "-USR1", str(job.pid)], check=True)
    job.wait(timeout=30)
    assert job.returncode == 0
    assert (stubs / "calls").read_text() == "requeue 7\n"


# ---- data


@pytest.mark.slow
def test_six_languages_prepare_real_data(shared_data, tmp_path):
    """One language of the real run, and the tasks; the steps after them are those of the others."""

    def step(name):
        result = run_script(EXAMPLES / "six_languages/run.sh", name, DATA=shared_data, OUT=tmp_path)
        assert result.returncode == 0, result.stdout + result.stderr

    step("prepare:tr")
    assert (tmp_path / "data/tr/train.bin").stat().st_size > 1e6
    (tmp_path / "data/en").symlink_to("tr")  # any vocabulary will do for the tasks
    for task in ("sib200", "xnli", "xquad"):
        step(f"task:{task}")
    labels = (tmp_path / "data/sib200/label/dict.txt").read_text().split()[::2]
    assert sorted(labels) == sorted((shared_data / "topic/sib200/labels.txt").read_text().split())
    assert len((tmp_path / "data/xnli-train.jsonl").read_text().splitlines()) == 8330
    assert (tmp_path / "data/xquad/windows/train.bin").exists()


def test_files_that_are_there_are_only_checked(tmp_path):
    (tmp_path / "x-final.tar.gz").write_text("something else")
    result = run_script(EXAMPLES / "download.sh", "pawsx", tmp_path)
    assert result.returncode == 2
    assert f"{tmp_path}/x-final.tar.gz has another SHA-256 than 4146db49" in result.stderr
    write_stub(tmp_path / "stubs", "sha256sum", "cat >/dev/null")  # all is well
    result = run_script(EXAMPLES / "download.sh", "pawsx", tmp_path, STUBS=tmp_path / "stubs")
    assert result.returncode == 0 and "checksum as it should be" in result.stdout


def test_no_network_and_unknown_sets_are_one_sentence(tmp_path):
    write_stub(tmp_path / "stubs", "curl", "exit 6")
    result = run_script(EXAMPLES / "download.sh", "squad", tmp_path, STUBS=tmp_path / "stubs")
    assert result.returncode == 2
    assert "train-v1.1.json could not be fetched" in result.stderr
    assert not list(tmp_path.glob("*.json*"))
    result = run_script(EXAMPLES / "download.sh", "xtreme", tmp_path)
    assert result.returncode == 2 and "there is no set xtreme; there is: " in result.stderr


def test_a_corpus_in_parts(tmp_path):
    """All text is in one of the parts, and all have one vocabulary."""
    lines = [f"document {n} of {n * n % 997} words" for n in range(4000)]
    (tmp_path / "en.txt").write_text("\n\n".join(lines) + "\n")
    settings = {
        "TEXT": tmp_path / "en.txt", "OUT": tmp_path / "data", "PART_BYTES": "50K",
        "SAMPLE_LINES": "400", "VOCABULARY": "--vocabulary-size 60 --character-coverage 1.0",
    }  # fmt: skip

    def corpus(*step):
        result = run_script(EXAMPLES / "corpus.sh", *step, **settings)
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    count = int(corpus("split").split()[0])
    assert count == int(corpus("split").split()[0]) == 3
    corpus("vocabulary")
    for part in (2, 0, 1):
        corpus("part", part)
    written = (tmp_path / "data/0001/train.bin").stat().st_mtime_ns
    corpus("part", 1)
    assert (tmp_path / "data/0001/train.bin").stat().st_mtime_ns == written
    folders = corpus("data").strip().split(":")
    assert [Path(folder).name for folder in folders] == ["0000", "0001", "0002"]
    assert len({Path(folder, "dict.txt").read_text() for folder in folders}) == 1
    counts = [json.loads(Path(folder, "prepare.json").read_text())["counts"] for folder in folders]
    assert 4000 <= sum(count["documents"] for count in counts) <= 4002  # two may be cut in two
    assert all(count["train"]["unknown_share"] == 0 for count in counts)
    assert run_script(EXAMPLES / "corpus.sh", **settings).returncode == 2

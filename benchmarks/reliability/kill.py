"""Commands killed (kill -9) at random moments and given again: the end must be the same by bits.

    python benchmarks/reliability/kill.py outputs/kills                 50 moments of each
    python benchmarks/reliability/kill.py outputs/kills --moments 5 --only pretraining

Of each command the time is measured first; then it is started in a new folder, killed after a random
part of that time, with its workers or without them, and given once more. After the kill nothing may be
half-written under its final name; the second run must end well, with what an undisturbed run writes,
and leave nothing else. `copying` kills pretraining inside the copying and renaming of checkpoints, at
random among all pieces that are copied. What is done is kept in FOLDER/results.jsonl, and another call
goes on there. Failures stay in FOLDER/failures, what an undisturbed run writes in FOLDER/undisturbed.
Ends with a table, and exit code 1 if anything failed.
"""

import argparse
import json
import os
import random
import shutil
import signal
import statistics
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import forks
import sound
from sameness import digests, is_temporary, is_whole

PIECE = 4096  # bytes that a copy writes at once
SECONDS = 300.0
# Several epochs and checkpoints, and a worker process, which fairseq has by default.
UPDATES = 16
OFTEN = (
    "--save-interval-updates", "3", "--keep-interval-updates", "2", "--num-workers", "1",
    "--batch-size", "16",
)  # fmt: skip


@dataclass(frozen=True)
class Subject:
    """A command to kill.

    Attributes:
        grows: whether the output is written in steps, each whole, rather than all at once.
        copying: whether to kill by events of copying, not by time.
    """

    words: list[str]
    grows: bool = False
    copying: bool = False


PRETRAINING = Subject(sound.pretraining(sound.OUTPUT, UPDATES, *OFTEN), grows=True)
SUBJECTS = {
    "prepare": Subject(
        sound.verb(
            f"prepare --text in/text/en.txt {sound.PREPARE} --workers 2 --output {sound.OUTPUT}"
        )
    ),
    "pretraining": PRETRAINING,
    "adaptation": Subject(sound.adaptation(sound.OUTPUT, UPDATES, *OFTEN), grows=True),
    "evaluation": Subject(sound.EVALUATE, grows=True),
    "import": Subject(sound.IMPORT),
    "export": Subject(sound.EXPORT),
    "copying": replace(PRETRAINING, copying=True),
}
FAULTS = ("half-written", "did not go on", "other end", "left over", "workers stayed")


def kill_at(event: int, count: Path | None = None) -> Callable[[], None]:
    """What makes a fork kill itself at the so-manieth piece copied, rename or link, counted from 1.

    With `count`, the file says how many there have been so far.
    """
    events = 0

    def happen() -> None:
        nonlocal events
        events += 1
        if count is not None:
            count.write_text(str(events))
        if events == event:
            os.kill(os.getpid(), signal.SIGKILL)

    def copy_pieces(source: object, target: object, length: int = 0) -> None:
        while piece := source.read(PIECE):
            target.write(piece[: len(piece) // 2])
            target.flush()
            happen()
            target.write(piece[len(piece) // 2 :])

    def counted(function: Callable) -> Callable:
        def call(*arguments: object, **options: object) -> object:
            happen()
            result = function(*arguments, **options)
            happen()
            return result

        return call

    def patch() -> None:
        shutil.copyfileobj = copy_pieces
        shutil._USE_CP_SENDFILE = False  # copyfile would not come to copyfileobj
        for name in ("replace", "rename", "link", "unlink"):
            setattr(os, name, counted(getattr(os, name)))

    return patch


class Killing:
    def __init__(self, folder: Path, seed: int, models: bool) -> None:
        self.folder, self.seed = folder, seed
        self.results = folder / "results.jsonl"
        forks.preload()
        self.sound = sound.inputs_in(folder, models)

    def begin(self, name: str) -> Path:
        case = self.folder / name
        shutil.rmtree(case, ignore_errors=True)
        shutil.copytree(self.sound, case)
        (case / "out").mkdir()
        return case

    def undisturbed(self, name: str) -> tuple[float, int, dict[str, str]]:
        """Returns (seconds, events of copying, digests) of a run that nothing disturbs."""
        subject, seconds, ends, events = SUBJECTS[name], [], [], 0
        for number in range(3 if not subject.copying else 2):
            case = self.begin(f"{name}-undisturbed")
            before = kill_at(0, case / "events") if subject.copying and number == 0 else None
            ended = forks.run(subject.words, case, seconds=SECONDS, before=before)
            if ended.code:
                raise RuntimeError(f"{name} fails undisturbed:\n{ended.stderr[-4000:]}")
            if before is not None:
                events = int((case / "events").read_text())
            seconds.append(ended.seconds)
            ends.append(digests(case / sound.OUTPUT))
            kept = self.folder / "undisturbed" / name
            shutil.rmtree(kept, ignore_errors=True)
            shutil.copytree(case / "out", kept)
            shutil.rmtree(case)
        if any(end != ends[0] for end in ends):
            different = sorted(k for k in ends[0] if any(e.get(k) != ends[0][k] for e in ends))
            raise RuntimeError(f"{name}: two undisturbed runs differ in {', '.join(different)}")
        return statistics.median(seconds), events, ends[0]

    def kill(self, name: str, number: int, undisturbed: tuple) -> dict:
        """Kill a command once; returns the record of what came of it."""
        seconds, events, end = undisturbed
        subject, case = SUBJECTS[name], self.begin(f"{name}-{number}")
        random_moment = random.Random(f"{self.seed} {name} {number}")
        if subject.copying:
            moment = random_moment.randint(1, events)
            ended = forks.run(subject.words, case, seconds=SECONDS, before=kill_at(moment))
        else:
            moment = random_moment.uniform(0, seconds)
            ended = forks.run(
                subject.words, case, seconds=SECONDS, kill_after=moment,
                kill_group=random_moment.random() < 0.5,
            )  # fmt: skip
        faults = ["workers stayed"] if ended.outlived else []
        output = case / sound.OUTPUT
        if not self._is_sound(output, end, subject):
            faults.append("half-written")
        shutil.copytree(case / "out", case / "killed", symlinks=True)
        again = forks.run(subject.words, case, seconds=SECONDS)
        if again.code or again.timed_out:
            faults.append("did not go on")
        found = {k: v for k, v in digests(output).items() if not is_temporary(Path(k))}
        different = sorted(k for k in found.keys() | end.keys() if found.get(k) != end.get(k))
        if different and "did not go on" not in faults:
            faults.append("other end")
        left = [each for each in (case / "out").rglob("*") if is_temporary(each.relative_to(case))]
        if left:
            faults.append("left over")
        record = {"subject": name, "number": number, "moment": moment, "killed": ended.code < 0,
                  "faults": faults, "different": different}  # fmt: skip
        if faults:
            self._keep(case, record, again)
        shutil.rmtree(case, ignore_errors=True)
        return record

    @staticmethod
    def _is_sound(output: Path, end: dict[str, str], subject: Subject) -> bool:
        """Whether all that has its final name is whole."""
        found = {k: v for k, v in digests(output).items() if not is_temporary(Path(k))}
        if not subject.grows:
            return found in ({}, end)
        return all(is_whole(output / name) for name in found)

    def _keep(self, case: Path, record: dict, again: forks.Ended) -> None:
        kept = self.folder / "failures" / case.name
        shutil.rmtree(kept, ignore_errors=True)
        kept.parent.mkdir(exist_ok=True)
        case.rename(kept)
        words = SUBJECTS[record["subject"]].words
        text = [f"in a copy of {self.sound}: {' '.join(words)}", json.dumps(record)]
        (kept / "what.txt").write_text("\n".join([*text, again.stdout, again.stderr]))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="for inputs, results and failures")
    parser.add_argument("--moments", type=int, default=50, help="of each command (default: 50)")
    parser.add_argument("--only", nargs="+", choices=SUBJECTS, default=list(SUBJECTS))
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    killing = Killing(options.folder.resolve(), options.seed, options.only != ["prepare"])
    records = read_records(killing.results)
    done = {(record["subject"], record["number"]) for record in records}
    for name in options.only:
        left = [n for n in range(options.moments) if (name, n) not in done]
        if not left:
            continue
        undisturbed = killing.undisturbed(name)
        print(f"{name}: {undisturbed[0]:.1f} s undisturbed, {len(left)} kills", flush=True)
        for number in left:
            record = killing.kill(name, number, undisturbed)
            records.append(record)
            with open(killing.results, "a") as file:
                file.write(json.dumps(record) + "\n")
            if record["faults"]:
                print(f"{name} {number}: {', '.join(record['faults'])}", flush=True)
    wanted = [r for r in records if r["subject"] in options.only and r["number"] < options.moments]
    print(table(wanted))
    return 1 if any(record["faults"] for record in wanted) else 0


def read_records(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def table(records: list[dict]) -> str:
    """Markdown: a line for each command."""
    lines = [f"| killed | times | before its end | {' | '.join(FAULTS)} |",
             "|---|" + "---|" * (len(FAULTS) + 2)]  # fmt: skip
    for name in SUBJECTS:
        own = [record for record in records if record["subject"] == name]
        if own:
            faults = Counter(fault for record in own for fault in record["faults"])
            killed = sum(record["killed"] for record in own)
            cells = [name, len(own), killed, *(faults[fault] for fault in FAULTS)]
            lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())

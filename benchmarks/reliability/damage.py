"""All verbs and training commands on damaged inputs: refused in one sentence, or no effect.

    python benchmarks/reliability/damage.py outputs/damage --jobs 2     5,000 cases
    python benchmarks/reliability/damage.py outputs/damage --count 300 --only evaluate plug
    python benchmarks/reliability/damage.py outputs/damage --case 1234  one of them again

A case is a command, one of its input files or what stands at its output, a kind of damage (see
damages.py), and a seed. Good: exit code 2 with one sentence and nothing left behind; exit code 0 with
what the sound input gives; or with a line that names the damaged file. Not good: a traceback or another
exit code, more than a minute, more memory than the sound input needs, another result from what can be
seen to be damaged (judge.py says what cannot), code that runs, anything changed outside of the output,
control characters on the terminal, HTML in a page or card. What fairseq itself ends in, with none of
this package's code in the traceback, is counted apart.

What is done is kept in FOLDER/results-*.jsonl, and another call goes on there. Failures stay in
FOLDER/failures, with the command and the damaged file. Ends with tables, and exit code 1 if anything
failed.
"""

import argparse
import hashlib
import json
import os
import random
import re
import shlex
import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import forks
import sound
from damages import ESCAPES, apply, damages_of
from judge import cannot_be_seen
from kill import read_records
from sameness import digests, path_exists

SECONDS = 60.0
MARGIN = 300 << 20  # bytes of memory that a command may use beyond what it uses on sound inputs
GOOD = ("refused", "no effect", "said", "cannot be seen", "fairseq's own")
REFUSAL = re.compile(r"^fairseq-\S+(?: [\w-]+)?: error: .+", re.MULTILINE)
# Control characters but for tab and ends of lines; those of C1 as characters, too.
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
OUTSIDE, MINE = "outside", "mine.txt"

NAMES = {
    "name with blanks": "out/my result",
    "name with quotation marks": "out/it's \"my\" result",
    "name with a line end": "out/my\nresult",
    "name with escapes": "out/" + ESCAPES.replace("/", ""),
    "name with a colon": "out/my:result",
    "name that is not UTF-8": "out/\udce4",
    "very long name": "out/" + "x" * 300,
    "name with three dots": "out/result...",
}  # fmt: skip
# What stands at the output; a function of (output, folder outside).
WAYS = {
    "a file": lambda output, outside: output.write_text("mine"),
    "a folder with a file": lambda output, outside: (
        output.mkdir(), (output / MINE).write_text("mine")),
    "a link to a folder": lambda output, outside: output.symlink_to(outside),
    "a link to a file": lambda output, outside: output.symlink_to(outside / MINE),
    "a dangling link": lambda output, outside: output.symlink_to("nowhere"),
    "a link to itself": lambda output, outside: output.symlink_to(output.name),
    "a file in the place of its folder": lambda output, outside: (
        output.parent.rmdir(), output.parent.write_text("mine")),
    "links at names of work": lambda output, outside: [
        output.with_name(f".{output.name}{end}").symlink_to(outside)
        for end in (".work", ".partial", ".tmp", ".former", ".lock")
    ],
    "links to files at names of work": lambda output, outside: [
        output.with_name(f"{start}{output.name}{end}").symlink_to(outside / MINE)
        for start, end in ((".", ".work"), (".", ".partial"), ("", ".tmp"), ("", ".lock"))
    ],
}  # fmt: skip
FULL_DISK = "full disk"
# fairseq's Adam evaluates the text of an option.
CODE, BETAS, AS_CODE = "code in an option", "(0.9,0.98)", "__import__('os').mkdir('code-ran')"


@dataclass(frozen=True)
class Case:
    """One command, what of it is damaged (a file, or None: its output), how, and the seed."""

    index: int
    command: sound.Command
    damaged: str | None
    kind: str
    seed: int

    def __str__(self) -> str:
        return f"{self.index}: {self.command.name}: {self.damaged or 'output'}: {self.kind}"


def all_cases(seed: int, count: int, commands: list[sound.Command], inputs: Path) -> Iterator[Case]:
    """Every combination in random order, then again with other seeds."""
    combinations = [
        (command, name, kind)
        for command in commands
        for name in command.inputs
        if name.startswith("out/") or (inputs / name).exists()
        for kind in damages_of(name)
    ]
    ways = (*WAYS, *NAMES, FULL_DISK)
    combinations += [
        (c, None, kind) for c in commands if sound.OUTPUT in " ".join(c.words) for kind in ways
    ]
    combinations += [(c, None, CODE) for c in commands if BETAS in c.words]
    rng, index = random.Random(seed), 0
    while True:
        for combination in rng.sample(combinations, len(combinations)):
            if index == count:
                return
            yield Case(index, *combination, seed=rng.getrandbits(32))
            index += 1


@dataclass(frozen=True)
class Sound:
    """What a command does on sound inputs."""

    digests: dict[str, str]
    stdout: str
    stderr: str
    peak: int
    largest: int  # bytes of its largest file


class Damaging:
    def __init__(self, folder: Path, models: bool) -> None:
        self.folder = folder
        self._sound: dict[str, Sound] = {}
        forks.preload()
        self.sound = sound.inputs_in(folder, models)

    def begin(self, command: sound.Command) -> Path:
        """A new folder with the inputs, a place for the output, and a file outside of it.

        Always under the same name, which some outputs have in them.
        """
        case = self.folder / f"case-{os.getpid()}"
        shutil.rmtree(case, ignore_errors=True)
        shutil.copytree(self.sound, case)
        (case / "out").mkdir()
        (case / OUTSIDE).mkdir()
        (case / OUTSIDE / MINE).write_text("mine")
        if command.resumes:
            shutil.copytree(case / command.resumes, case / sound.OUTPUT)
        return case

    def undamaged(self, command: sound.Command) -> Sound:
        """Raises: RuntimeError: it fails on sound inputs, or two runs differ."""
        if command.name not in self._sound:
            ends = []
            for _ in range(2):
                case = self.begin(command)
                ended = forks.run(command.words, case, seconds=300)
                if ended.code:
                    raise RuntimeError(f"{command.name} fails on sound inputs:\n{ended.stderr}")
                output = case / command.writes
                files = [p for p in (output, *output.rglob("*")) if p.is_file()]
                largest = max((p.stat().st_size for p in files), default=0)
                ends.append(Sound(digests(output), ended.stdout, ended.stderr, ended.peak, largest))
                shutil.rmtree(case)
            if ends[0].digests != ends[1].digests:
                raise RuntimeError(f"{command.name}: two runs on sound inputs differ")
            self._sound[command.name] = ends[0]
        return self._sound[command.name]

    def run(self, case: Case) -> dict:
        """Run one case; returns the record of what came of it."""
        command, rng = case.command, random.Random(case.seed)
        expected = self.undamaged(command)
        folder = self.begin(command)
        words, writes, options = list(command.words), command.writes, {}
        before, own = b"", False
        if case.damaged is not None:
            path = folder / case.damaged
            before = path.read_bytes()
            apply(case.kind, path, rng, folder / "code-ran")
            own = cannot_be_seen(command.name, path, before, case.kind)
        elif case.kind in NAMES:
            words = [word.replace(sound.OUTPUT, NAMES[case.kind]) for word in words]
            writes = writes.replace(sound.OUTPUT, NAMES[case.kind])
        elif case.kind == CODE:
            words = [word.replace(BETAS, AS_CODE) for word in words]
        elif case.kind == FULL_DISK:
            options["file_size"] = rng.randrange(max(1, expected.largest))
        elif not (command.resumes and case.kind != "links at names of work"):
            (folder / writes).parent.mkdir(exist_ok=True, parents=True)
            WAYS[case.kind](folder / writes, folder / OUTSIDE)
        earlier = _fingerprints(folder)
        ended = forks.run(words, folder, seconds=SECONDS, **options)
        outcome = self._judge(case, folder, writes, ended, expected, earlier, own)
        record = {"index": case.index, "command": command.name, "damaged": case.damaged,
                  "kind": case.kind, "outcome": outcome, "seconds": round(ended.seconds, 2),
                  "peak": ended.peak >> 20, "last": ended.stderr.strip()[-300:]}  # fmt: skip
        if outcome not in GOOD:
            self._keep(case, folder, words, record, ended)
        shutil.rmtree(folder, ignore_errors=True)
        return record

    def _judge(
        self,
        case: Case,
        folder: Path,
        writes: str,
        ended: forks.Ended,
        expected: Sound,
        earlier: dict[str, str],
        own: bool,
    ) -> str:
        if (folder / "code-ran").exists():
            return "code ran"
        later, output = _fingerprints(folder), folder / writes
        training = case.command.words[0] == "fairseq-train"
        if reason := _changed_outside(case, writes, earlier, later, training):
            return reason
        if ended.timed_out or ended.outlived:  # also by processes that it left
            return "over a minute"
        if ended.peak > expected.peak + MARGIN:
            return "memory"
        # A name on the command line is the user's own.
        printed = "" if case.kind in NAMES else ended.stdout + ended.stderr
        if CONTROL.search(printed) or _has_html(output):
            return "unescaped"
        if "Traceback" in ended.stderr:
            ours = "/fairseq_minimodel/" in ended.stderr
            return "fairseq's own" if training and not ours else "traceback"
        if ended.code == 2:
            if len(REFUSAL.findall(ended.stderr)) != 1:
                return "no sentence"
            left = _new(earlier, later, "out")
            # A run of prepare that is given again goes on with its work.
            left = {path for path in left if ".work/" not in path and not path.endswith(".work")}
            # What training and `evaluate` have done so far stays, and they go on with it.
            grows = training or case.command.name.startswith("evaluate")
            return "left behind" if left and not grows else "refused"
        if ended.code != 0:
            return f"exit code {ended.code}"
        if any(Path(path).name.startswith(".") for path in _new(earlier, later, "out")):
            return "left behind"
        found = digests(Path(os.path.realpath(output)))
        if case.damaged is None:
            wanted = expected.digests.items()
            if case.kind in NAMES:  # pages and cards have it in them
                wanted = {(k, v) for k, v in wanted if not k.endswith((".html", ".md"))}
            return "no effect" if wanted <= found.items() else "other result"
        if found == expected.digests and (found or ended.stdout == expected.stdout):
            return "no effect"
        news = set(ended.stderr.splitlines()) - set(expected.stderr.splitlines())
        # `inspect` says what is in a file; the others warn of it.
        if case.command.name.startswith("inspect") or any(case.damaged in line for line in news):
            return "said"
        return "cannot be seen" if own else "silently taken"

    def _keep(
        self, case: Case, folder: Path, words: list[str], record: dict, ended: forks.Ended
    ) -> None:
        kept = self.folder / "failures" / str(case.index)
        shutil.rmtree(kept, ignore_errors=True)
        kept.mkdir(parents=True)
        if case.damaged is not None and (folder / case.damaged).is_file():
            shutil.copy(folder / case.damaged, kept)
        text = [str(case), f"in a copy of {self.sound}, with the damaged file in its place:",
                shlex.join(words), json.dumps(record), ended.stdout, ended.stderr]  # fmt: skip
        (kept / "what.txt").write_text("\n".join(text), errors="backslashreplace")


def _fingerprints(folder: Path) -> dict[str, str]:
    """What each file, folder and link below a folder is."""
    found = {}
    for path in folder.rglob("*"):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = f"link to {os.readlink(path)}"
        elif path.is_dir():
            found[name] = "folder"
        elif path.is_file():
            found[name] = hashlib.sha1(path.read_bytes()).hexdigest()
    return found


def _new(earlier: dict[str, str], later: dict[str, str], start: str) -> set[str]:
    changed = {path for path in later if later[path] != earlier.get(path)}
    return {path for path in changed if path.startswith(f"{start}/")}


def _changed_outside(
    case: Case, writes: str, earlier: dict[str, str], later: dict[str, str], training: bool
) -> str | None:
    """What was changed, made or removed that is not the output, or was there before in its place."""
    gone = {path for path in earlier if later.get(path) != earlier[path]}
    # An output that is a file may be written over, as every command does with the file it is told;
    # in the place of an output that is a folder nothing that was there may go.
    is_file = bool(Path(writes).suffix)
    for path in gone:
        if path == writes and (is_file or earlier[path].startswith("link to")):
            continue
        if path.startswith(f"{writes}/") and (training or case.command.resumes):
            continue
        return "changed outside"
    for path in later.keys() - earlier.keys():
        linked = path.startswith(f"{OUTSIDE}/") and case.kind == "a link to a folder"
        beside = path == "nowhere" or path == "out/nowhere"  # where a dangling link leads
        if not (path.startswith("out") or linked or beside):
            return "changed outside"
    return None


def _has_html(output: Path) -> bool:
    if not path_exists(output):
        return False
    pages = [path for path in (output, *output.rglob("*")) if path.suffix in (".html", ".md")]
    return any(b"<script>alert(1)" in path.read_bytes() for path in pages if path.is_file())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="for inputs, results and failures")
    parser.add_argument("--count", type=int, default=5000, help="cases (default: 5000)")
    names = [command.name for command in sound.COMMANDS]
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="COMMAND")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1, help="processes (default: 1)")
    parser.add_argument("--case", type=int, metavar="N", help="run this one alone, and keep it")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    commands = [command for command in sound.COMMANDS if command.name in options.only]
    models = any(command.reads_models for command in commands)
    damaging = Damaging(options.folder.resolve(), models)
    cases = list(all_cases(options.seed, options.count, commands, damaging.sound))
    if options.case is not None:
        record = damaging.run(cases[options.case])
        print(cases[options.case], json.dumps(record, indent=2), sep="\n")
        return 0 if record["outcome"] in GOOD else 1
    done = {_key(record) for record in _records(damaging.folder)}
    left = [case for case in cases if _key_of(case) not in done]
    print(f"{len(cases)} cases, {len(left)} left", flush=True)
    children = []
    for job in range(options.jobs):
        child = os.fork()
        if child == 0:
            _work(damaging, job, left[job :: options.jobs])
        children.append(child)
    ended_well = all(os.waitpid(child, 0)[1] == 0 for child in children)
    wanted = {_key_of(case) for case in cases}
    records = [record for record in _records(damaging.folder) if _key(record) in wanted]
    print(tables(records))
    return 0 if ended_well and all(record["outcome"] in GOOD for record in records) else 1


def _work(damaging: Damaging, job: int, cases: list[Case]) -> None:
    """Run these cases, and end the process."""
    code = 1
    try:
        forks.adopt_orphans()
        with open(damaging.folder / f"results-{job}.jsonl", "a", buffering=1) as file:
            for number, case in enumerate(cases, start=1):
                try:
                    record = damaging.run(case)
                except Exception as error:  # of this script: it is shown, and the others are run
                    record = {"index": case.index, "command": case.command.name,
                              "damaged": case.damaged, "kind": case.kind,
                              "outcome": "script failed", "last": repr(error)}  # fmt: skip
                    sys.excepthook(*sys.exc_info())
                file.write(json.dumps(record) + "\n")
                if record["outcome"] not in GOOD:
                    print(
                        f"{case}: {record['outcome']}".encode("unicode_escape").decode(), flush=True
                    )
                if number % 100 == 0:
                    print(f"job {job}: {number} of {len(cases)}", flush=True)
        code = 0
    except Exception:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        os._exit(code)


def _key(record: dict) -> tuple:
    return record["index"], record["command"], record["damaged"], record["kind"]


def _key_of(case: Case) -> tuple:
    return case.index, case.command.name, case.damaged, case.kind


def _records(folder: Path) -> list[dict]:
    return [
        record for path in sorted(folder.glob("results-*.jsonl")) for record in read_records(path)
    ]


def tables(records: list[dict]) -> str:
    """Markdown: a line for each command, then the failures by kind of damage."""
    bad = sorted({record["outcome"] for record in records} - set(GOOD))
    columns = [*GOOD, *bad]
    lines = [f"| command | cases | {' | '.join(columns)} |", "|---|" + "---|" * (len(columns) + 1)]
    names = [c.name for c in sound.COMMANDS if any(r["command"] == c.name for r in records)]
    for name in [*names, "all"]:
        own = [r for r in records if name in ("all", r["command"])]
        counts = Counter(record["outcome"] for record in own)
        cells = [name, len(own), *(counts[column] for column in columns)]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    failed = Counter((r["kind"], r["outcome"]) for r in records if r["outcome"] not in GOOD)
    if failed:
        lines += ["", "| damage | failure | cases |", "|---|---|---|"]
        lines += [f"| {kind} | {outcome} | {n} |" for (kind, outcome), n in failed.most_common()]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())

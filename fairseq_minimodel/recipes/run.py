"""Running the steps of a plan, each in a process of its own; what is done is not done again."""

import ctypes
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ..errors import InputError
from ..files.atomic import write_json
from ..files.records import read_record
from ..terminal.progress import Progress
from ..terminal.table import format_seconds
from .given import Machine
from .steps import OURS, TRAIN, Step

STATE = "adapt.json"
MODULES = {OURS: "fairseq_minimodel", TRAIN: "fairseq_cli.train"}
AGAIN = "give another --output, or remove the folder"
SHOWN = 15  # last lines of the log of a step that has failed
UPDATES = re.compile(rb'num_updates": "?(\d+)')
PR_SET_PDEATHSIG = 1  # linux/prctl.h


@dataclass
class State:
    """What adapt.json in the folder of the output says.

    Attributes:
        settings: the options that everything there was made with.
        inputs: size and time of each file that was given, by its path.
        machine: as it was measured: the plan depends on it.
        done: the command of each step that is done, by the name of the step.
    """

    settings: dict[str, object]
    inputs: dict[str, list[int]]
    machine: Machine
    done: dict[str, str] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        write_json(folder / STATE, asdict(self))


def read_state(folder: Path) -> State | None:
    """What an earlier run has left. Raises InputError: it is damaged."""
    path = folder / STATE
    return read_record(path, State, AGAIN) if path.is_file() else None


def is_done(step: Step, state: State) -> bool:
    return state.done.get(step.name) == step.line and step.output.exists()


def run(plan: Callable[[], list[Step]], state: State, folder: Path) -> None:
    """Run what is not done, in order.

    Args:
        plan: makes the steps, as many each time. It is asked before each of them: what a command is
            called with may be known only when those before it are done.

    Raises:
        InputError: a step has failed.
    """
    for index in range(len(plan())):
        steps = plan()
        step, place = steps[index], f"[{index + 1}/{len(steps)}] {steps[index].name}"
        if is_done(step, state):
            print(f"{place}: done before", flush=True)
            continue
        left = sum(one.seconds for one in steps[index:] if not is_done(one, state))
        about, rest = (format_seconds(round(seconds)) for seconds in (step.seconds, left))
        print(f"\n{place}: about {about}, all that is left about {rest}\n$ {step.line}", flush=True)
        started, log = time.monotonic(), folder / "logs" / f"{step.name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        code = (_train if step.updates else _print)(step, log)
        if code != 0:
            raise InputError(
                f"the step {step.name} has failed (exit code {code}; what it printed: {log}): with "
                "that put right, the same command goes on there"
            )
        state.done[step.name] = step.line
        state.write(folder)
        print(f"{step.name}: {format_seconds(round(time.monotonic() - started))}", flush=True)


def _print(step: Step, log: Path) -> int:
    """Run a verb, whose lines are printed and logged. Returns the exit code."""
    with open(log, "a", encoding="utf-8") as file, _process(step, subprocess.PIPE, None) as process:
        for line in process.stdout:
            print(line, end="", flush=True)
            file.write(line)
        return process.wait()


def _train(step: Step, log: Path) -> int:
    """Run a training, whose log is read for the updates so far. Returns the exit code."""
    done = 0
    with (
        open(log, "ab") as file,
        open(log, "rb") as lines,
        Progress(step.name, step.updates, "update") as progress,
        _process(step, file, subprocess.STDOUT) as process,
    ):
        lines.seek(0, 2)
        while process.poll() is None:
            time.sleep(0.2)
            for found in UPDATES.findall(lines.read()):
                progress.update(max(0, int(found) - done))
                done = max(done, int(found))
        code = process.returncode
    printed = log.read_text(encoding="utf-8", errors="replace").splitlines()
    shown = [line for line in printed if "done training" in line][-1:] if code == 0 else []
    print("\n".join(shown or printed[-SHOWN:]), flush=True)
    return code


def program(name: str, *words: str) -> list[str]:
    """A command as it is run: that of this environment, whatever is on the PATH."""
    return [sys.executable, "-m", MODULES[name], *words]


@contextmanager
def _process(step: Step, out: object, errors: object) -> Iterator[subprocess.Popen]:
    with subprocess.Popen(
        program(*step.command),
        stdout=out,
        stderr=errors,
        text=out is subprocess.PIPE,
        preexec_fn=_end_with_parent,
    ) as process:
        try:
            yield process
        except BaseException:
            with suppress(subprocess.TimeoutExpired):  # Ctrl-C on a terminal reaches it, too
                process.wait(timeout=1)
            process.send_signal(signal.SIGINT)
            process.wait()
            raise


def _end_with_parent() -> None:
    """Have Linux end the step when this process is killed, and nothing of it left to write."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)

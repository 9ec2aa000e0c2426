"""Processes of one variant each, that take turns: what else the machine does hits all alike."""

import contextlib
import json
import os
import select
import statistics
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO


class WorkerError(Exception):
    """A worker has ended, or answers with an error; the message says which."""


class LateError(WorkerError):
    """A worker has taken too long, and was killed."""


class Worker:
    """A process that answers each request, a line of JSON, with a line of JSON: see `serve`.

    Args:
        script, arguments: what the process runs.
        log: where its other output goes; None: to this process's standard error.
        environment: variables besides the present ones. It has one thread.
    """

    def __init__(
        self,
        script: str | Path,
        *arguments: object,
        log: BinaryIO | None = None,
        **environment: str,
    ) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(script), *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        )

    def ask(self, request: object, seconds: float | None = None) -> object:
        """The answer to one request. Arguments and errors as in `receive`."""
        self.send(request)
        return self.receive(seconds)

    def send(self, request: object) -> None:
        """Let the process begin; raises `WorkerError` if it has ended."""
        try:
            self.process.stdin.write(json.dumps(request).encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise WorkerError("its process has ended") from None

    def receive(self, seconds: float | None = None) -> object:
        """The answer to what was sent last.

        Args:
            seconds: to wait for it at most; then the process is killed. None: without an end.

        Raises:
            WorkerError: there is none.
        """
        answers = self.process.stdout
        if seconds is not None and not select.select([answers], [], [], max(seconds, 0))[0]:
            self.kill()
            raise LateError("it took too long")
        line = answers.readline()
        if not line:
            raise WorkerError("its process has ended")
        answer = json.loads(line)
        if "error" in answer:
            raise WorkerError(answer["error"])
        return answer["answer"]

    def close(self) -> None:
        """End the process and wait for it."""
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait()

    def kill(self) -> None:
        """End the process whatever it does."""
        self.process.kill()
        self.close()


def receive_all(workers: Sequence[Worker], seconds: float) -> list:
    """The answers of workers that may wait for each other, in their order.

    The first error ends the waiting: the others may wait for the one that it befell. Arguments and
    errors as in `Worker.receive`.
    """
    end = time.monotonic() + seconds
    pending = {worker.process.stdout: worker for worker in workers}
    answers = {}
    while pending:
        ready = select.select(list(pending), [], [], max(end - time.monotonic(), 0))[0]
        for stream in ready or list(pending):
            worker = pending.pop(stream)
            answers[worker] = worker.receive(0)
    return [answers[worker] for worker in workers]


def serve(handle: Callable[[object], object]) -> None:
    """Be a worker: answer each request with what `handle` makes of it, until standard input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries print
    for line in sys.stdin:
        try:
            answer = {"answer": handle(json.loads(line))}
        except Exception as error:
            traceback.print_exc()
            reason = str(error).strip().partition("\n")[0][:200]
            answer = {"error": f"{type(error).__name__}: {reason}"}
        print(json.dumps(answer), file=answers, flush=True)


def ratios_of_speeds(seconds: Sequence[float], others: Sequence[float]) -> list[float]:
    """How many times faster than others, in each turn."""
    return [other / own for own, other in zip(seconds, others, strict=True)]


def ratio_of_speeds(seconds: Sequence[float], others: Sequence[float]) -> float:
    """How many times faster than others: the median over the turns of the ratio within a turn."""
    return statistics.median(ratios_of_speeds(seconds, others))

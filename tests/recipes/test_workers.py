"""benchmarks/workers.py: processes that answer, fail, take too long or end."""

import importlib
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
sys.path.append(str(BENCHMARKS))
workers = importlib.import_module("workers")

SCRIPT = f"""
import os, sys, time
sys.path.append({str(BENCHMARKS)!r})
from workers import serve

def handle(request):
    print("libraries print")
    os.system("echo and so do their programs")
    if request == "late":
        time.sleep(60)
    if request == "end":
        os._exit(3)
    return 1 / request

serve(handle)
"""


@pytest.fixture
def two(tmp_path):
    script = tmp_path / "worker.py"
    script.write_text(SCRIPT)
    with open(tmp_path / "log", "wb") as log:
        two = [workers.Worker(script, log=log) for _ in range(2)]
        yield two
        for worker in two:
            worker.kill()


@pytest.fixture
def worker(two):
    return two[0]


def test_an_error_is_told_and_the_process_goes_on(worker, tmp_path):
    assert worker.ask(2) == 0.5
    with pytest.raises(workers.WorkerError, match="^ZeroDivisionError: division by zero$"):
        worker.ask(0)
    assert worker.ask(4, seconds=30) == 0.25
    worker.close()
    assert worker.process.returncode == 0
    log = (tmp_path / "log").read_text()
    assert log.count("libraries print") == log.count("and so do") == 3 and "Traceback" in log


def test_one_that_takes_too_long_is_killed(worker):
    with pytest.raises(workers.LateError, match="^it took too long$"):
        worker.ask("late", seconds=0.1)
    assert worker.process.returncode < 0


def test_one_that_has_ended(worker):
    with pytest.raises(workers.WorkerError, match="its process has ended"):
        worker.ask("end")
    worker.process.wait()
    with pytest.raises(workers.WorkerError, match="its process has ended"):
        worker.ask(1)


def test_answers_of_several_come_in_their_order(two):
    for requests in ((1, 2), (4, 1)):
        for worker, request in zip(two, requests, strict=True):
            worker.send(request)
        assert workers.receive_all(two, 30) == [1 / request for request in requests]


def test_the_failure_of_one_ends_the_waiting_for_another(two):
    two[0].send("late")
    two[1].send(0)
    with pytest.raises(workers.WorkerError, match="ZeroDivisionError"):
        workers.receive_all(two, 600)
    assert two[0].process.poll() is None  # it is left to the caller
    two[1].send("late")
    with pytest.raises(workers.LateError):
        workers.receive_all(two, 0.1)


def test_a_ratio_is_the_median_over_the_turns():
    assert workers.ratio_of_speeds([1.0, 2.0, 4.0], [3.0, 4.0, 100.0]) == 3.0
    with pytest.raises(ValueError):
        workers.ratio_of_speeds([1.0], [1.0, 2.0])

"""Worker processes that stay few, light and bounded in what they hold."""

import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import active_children, get_context
from typing import Any


@contextmanager
def worker_pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Worker processes for one stage. On an error, Ctrl-C included, they are ended at once.

    They are forked from this process, which has no other threads then (each stage has its own pool)
    and has not loaded torch when it is our command: that is light and safe.
    """
    others = set(active_children())
    pool = ProcessPoolExecutor(
        workers, get_context("fork"), initializer=_start_worker, initargs=(os.getpid(),)
    )
    try:
        yield pool
    except BaseException:
        for worker in set(active_children()) - others:
            worker.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker(parent: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent

    def end_with_parent() -> None:  # a worker whose parent was killed would wait for ever
        while os.getppid() == parent:
            time.sleep(0.2)
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()


def bounded_map(
    pool: ProcessPoolExecutor,
    function: Callable[..., Any],
    tasks: Iterable[tuple[Any, ...]],
    most: int,
) -> Iterator[Any]:
    """Yield function(*task) in the order of the tasks, with at most `most` of them under way.
    Executor.map would take all tasks, that is all the text, into memory first."""
    waiting: deque[Future] = deque()
    for task in tasks:
        waiting.append(pool.submit(function, *task))
        if len(waiting) >= most:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def usable_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()

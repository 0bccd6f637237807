"""Cells, one after the other or several at once, in processes that read the data once."""

import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch

from zoo.compare.cells import Cell, Folder, Stage
from zoo.compare.plan import Plan
from zoo.compare.trainings import Work
from zoo.core import stop
from zoo.core.archive import first_line
from zoo.core.atomic import atomic_write
from zoo.core.imports import load
from zoo.core.quiet import quiet_lightning

Task = tuple[Cell, Stage]
Done = Callable[[Cell], None]
Run = Callable[[Sequence[Task]], dict[Cell, str]]  # makes cells; returns the messages of those that failed
T = TypeVar("T")
_data: Any = None  # of a process of the pool


def read_data(path: str, options: Mapping[str, Any]) -> Any:
    """A datamodule by its import path, set up, whose test takes no part in any choice."""
    data = load(path)(**options)
    data.prepare_data()
    data.setup()
    return data.with_validation_apart()


@contextmanager
def workers(jobs: int, threads: int, path: str, options: Mapping[str, Any]) -> Iterator[Executor | None]:
    """Processes for all of a comparison; None where this process does the work, with so many threads.

    They start a Python each: a fork of this one would hang in what its threads hold (OpenMP, CUDA).

    Args:
        jobs: Number of processes; 1 is this one.
        threads: Threads of each.
        path: Import path of the datamodule, which each reads once.
        options: Its options.
    """
    before = torch.get_num_threads()
    if jobs == 1:
        torch.set_num_threads(threads)
        try:
            yield None
        finally:
            torch.set_num_threads(before)
        return
    others = multiprocessing.active_children()
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(jobs, context, _begin, (threads, path, dict(options)))
    try:
        yield pool
    except BaseException:  # Ctrl-C, or SIGTERM: what they do is lost, and made again when the comparison goes on
        for process in multiprocessing.active_children():
            if process not in others:
                process.terminate()
        raise
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def each_of(
    pool: Executor | None, data: Any, function: Callable[..., T], tasks: Sequence[tuple[Any, ...]]
) -> Iterator[tuple[int, T]]:
    """Numbers and results of tasks, as they are done.

    Args:
        pool: Processes, or None.
        data: Datamodule of this process.
        function: What is done with the data and a task's arguments; one at the top of a module.
        tasks: Arguments.

    Raises:
        ValueError: a process was killed.
    """
    if pool is None:
        yield from ((i, function(data, *task)) for i, task in enumerate(tasks))
        return
    numbers = {pool.submit(_call, function, task): i for i, task in enumerate(tasks)}
    try:
        for future in as_completed(numbers):
            yield numbers[future], future.result()
    except BrokenProcessPool as error:
        raise ValueError(
            "a process was killed, for want of memory maybe: fewer --jobs; the same command goes on"
        ) from error


def runner(work: Work, pool: Executor | None, done: Done) -> Run:
    """A function that makes the cells which are not there yet, and calls ``done`` with each."""

    def run(tasks: Sequence[Task]) -> dict[Cell, str]:
        missing = [task for task in dict.fromkeys(tasks) if work.folder.read(task[0]) is None]
        failed = {}
        for i, message in each_of(pool, work.data, make, [(work.plan, work.folder.root, *task) for task in missing]):
            if message:
                failed[missing[i][0]] = message
            done(missing[i][0])
        return failed

    return run


def make(data: Any, plan: Plan, root: Path, cell: Cell, stage: Stage) -> str:
    """Make a cell; the message of what it failed of, whose traceback is kept, or ""."""
    work = Work(plan, Folder(root), data)
    try:
        work.make(cell, stage)
    except Exception as error:
        text, path = traceback.format_exc(), work.folder.failure(cell)
        atomic_write(path, lambda tmp: Path(tmp).write_text(text, encoding="utf-8"))
        return f"{first_line(error)} ({path})"
    return ""


def _begin(threads: int, path: str, options: dict[str, Any]) -> None:
    """In a new process of the pool: signals end it at once, and so does its parent's end."""
    global _data
    for number in stop.SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(threads)
    quiet_lightning()
    _data = read_data(path, options)


def _call(function: Callable[..., T], task: tuple[Any, ...]) -> T:
    return function(_data, *task)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)

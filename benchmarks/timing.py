"""A/B timing: candidates take turns in one process, and the medians of their rounds are compared."""

import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone

import torch


@contextmanager
def stopwatch(into: list[float]) -> Iterator[None]:
    """Append the seconds that the block takes."""
    start = time.perf_counter()
    yield
    into.append(time.perf_counter() - start)


def interleaved(candidates: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of each candidate over ``rounds`` in which all take turns; one more round warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(rounds + 1):
        for name, run in candidates.items():
            with stopwatch(seconds[name]):
                run()
    return {name: statistics.median(values[1:]) for name, values in seconds.items()}


def header() -> str:
    """Date, machine and versions, for the record."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    when = datetime.now(timezone.utc).date()
    return f"{when}, {platform.machine()}, {cores} cores, Python {platform.python_version()}, torch {torch.__version__}"

"""Principal components of MNIST, 60,000 x 784 bytes: this project's module under a Trainer beside scikit-learn.

    python benchmarks/pca.py --root data

Each fit is a process of its own and they take turns. All have imported what they need, have fitted a few narrow rows,
and hold the images in memory as bytes before the clock starts. Ours is ``Trainer.fit`` on batches of 1,000 rows of
bytes, the Trainer's setup included, with the options that switch off what is no part of a fit: logger, checkpoints,
progress bar, summary. scikit-learn's ``PCA`` is given the whole array, ``IncrementalPCA`` the same and batches of
1,000; both turn bytes into float64 themselves. The extra memory is the most that the process has while fitting less
what it had before, pages of program files left out.
"""

import argparse
import gzip
import json
import math
import os
import resource
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from timing import header

COMPONENTS, BATCH = 50, 1000


def mnist(root: str, rows: int) -> np.ndarray:
    """The training images (rows, 784) as bytes, again and again if there are more rows than images."""
    path = Path(root) / "MNIST/raw/train-images-idx3-ubyte"
    raw = path.read_bytes() if path.exists() else gzip.decompress(path.with_name(path.name + ".gz").read_bytes())
    x = np.frombuffer(raw, np.uint8, offset=16).reshape(-1, 784)
    return np.ascontiguousarray(np.resize(x, (rows, 784)))


def ours(x: np.ndarray) -> Callable[[], Any]:
    """A fit of the module, under a Trainer."""
    import logging
    import warnings

    import lightning.pytorch as pl
    import torch

    from datamodules.loader import ShardedSampler, TensorLoader
    from zoo import PCAModule

    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    rows = torch.from_numpy(x)

    def fit() -> Any:
        module = PCAModule((x.shape[1],), n_components=COMPONENTS)
        quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
        trainer = pl.Trainer(max_epochs=1, accelerator="cpu", **quiet)  # type: ignore[arg-type]
        trainer.fit(module, TensorLoader({"input": rows}, BATCH, ShardedSampler(rows)))
        return module

    return fit


def scikit(solver: str) -> Callable[[np.ndarray], Callable[[], Any]]:
    """scikit-learn in memory."""

    def make(x: np.ndarray) -> Callable[[], Any]:
        from sklearn.decomposition import PCA

        return lambda: PCA(COMPONENTS, svd_solver=solver).fit(x)

    return make


def incremental(x: np.ndarray) -> Callable[[], Any]:
    """scikit-learn in batches."""
    from sklearn.decomposition import IncrementalPCA

    return lambda: IncrementalPCA(COMPONENTS, batch_size=BATCH).fit(x)


FITS = {"ours": ours, "auto": scikit("auto"), "full": scikit("full"), "incremental": incremental}


def resident() -> int:
    """Bytes of this process in memory now, without the pages of program files."""
    pages = Path("/proc/self/statm").read_text().split()
    return (int(pages[1]) - int(pages[2])) * os.sysconf("SC_PAGE_SIZE")


@contextmanager
def peak(into: list[int]) -> Iterator[None]:
    """Append the block's peak memory above that before it, sampled every millisecond."""
    before, most, done = resident(), [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.001):
            most[0] = max(most[0], resident())

    thread = threading.Thread(target=watch)
    thread.start()
    yield
    done.set()
    thread.join()
    into.append(max(most[0], resident()) - before)


def measure(name: str, root: str, rows: int, memory: bool) -> dict[str, float]:
    """One fit in this process: memory, or else seconds, CPU seconds and exactness."""
    x = mnist(root, rows)
    fit = FITS[name](x)
    FITS[name](x[: 2 * BATCH, :64].copy())()  # loads what is loaded at first use, and keeps next to no memory
    if memory:
        extra: list[int] = []
        with peak(extra):
            fit()
        return {"MB": extra[0] / 1e6}
    usage, start = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    found: Any = fit()
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - usage.ru_utime - usage.ru_stime
    values, axes = lapack(x)
    components, variances = (np.asarray(getattr(found, n)) for n in ("components_", "explained_variance_"))
    worst = float(np.abs(variances / values[:COMPONENTS] - 1).max())
    return {"s": seconds, "CPU s": cpu, "angle": angle(components, axes[:COMPONENTS]), "variance": worst}


def lapack(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Variances and axes from the covariance in float64."""
    x = x.astype(np.float64)
    x -= x.mean(0)
    values, vectors = np.linalg.eigh(x.T @ x / (len(x) - 1))
    return values[::-1], vectors.T[::-1]


def angle(first: np.ndarray, second: np.ndarray) -> float:
    """The largest principal angle between two sets of orthonormal rows, from its sine."""
    sine = float(np.linalg.norm(first - first @ second.T @ second, ord=2))
    return math.asin(min(1.0, sine))


def run(name: str, options: argparse.Namespace, threads: int, rows: int, memory: bool = False) -> dict[str, float]:
    """One fit in a process of its own."""
    command = [sys.executable, __file__, "--fit", name, "--root", options.root, "--rows", str(rows)]
    many = {n: str(threads) for n in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
    environment = {**os.environ, **many, "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(
        [*command, *(["--memory"] if memory else [])], env=environment, check=True, stdout=subprocess.PIPE, text=True
    )
    return json.loads(done.stdout.splitlines()[-1])  # type: ignore[no-any-return]


def compare_speed(options: argparse.Namespace, threads: int) -> None:
    """Print the medians of seconds and exactness, and the ratios."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in options.names}
    for _ in range(options.rounds):
        for name, results in found.items():
            results.append(run(name, options, threads, options.rows))
    middle = {n: {k: statistics.median(r[k] for r in results) for k in results[0]} for n, results in found.items()}
    for name, m in middle.items():
        ratio = m["s"] / middle["ours"]["s"] if "ours" in middle else float("nan")
        print(
            f"{threads} threads  {name:<12} {m['s']:8.3f} s   CPU {m['CPU s']:8.3f} s   ours {ratio:6.2f} times   "
            f"angle {m['angle']:.1e}   variance {m['variance']:.1e}",
            flush=True,
        )


def compare_memory(options: argparse.Namespace) -> None:
    """Print what each needs beside the data; ours also for four times the rows."""
    for name in options.names:
        for rows in (options.rows, 4 * options.rows) if name == "ours" else (options.rows,):
            extra = [run(name, options, 1, rows, memory=True)["MB"] for _ in range(options.rounds)]
            print(
                f"{name:<12} {rows:,} rows: {statistics.median(extra):.1f} MB more, {max(extra):.1f} at most",
                flush=True,
            )


def main() -> None:
    """Print seconds, ratios, exactness and memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", default="data")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, nargs="*", default=[1, 2], help="none measures memory alone")
    parser.add_argument("--names", nargs="+", choices=FITS, default=list(FITS))
    parser.add_argument("--rows", type=int, default=60_000)
    parser.add_argument("--fit", choices=FITS, help=argparse.SUPPRESS)
    parser.add_argument("--memory", action="store_true", help="measure memory, too")
    options = parser.parse_args()
    if options.fit:
        print(json.dumps(measure(options.fit, options.root, options.rows, options.memory)))
        return
    print(header(), f"median of {options.rounds} rounds", flush=True)
    for threads in options.threads:
        compare_speed(options, threads)
    if options.memory:
        compare_memory(options)


if __name__ == "__main__":
    main()

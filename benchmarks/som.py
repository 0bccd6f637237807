"""Self-organising maps by this project, MiniSom, XPySom and fastersom, taking turns, on MNIST and on iris.

    pip install minisom xpysom fastersom
    python benchmarks/som.py --root data [--threads 1]

10,000 images of 784 pixels in [0, 1], a map of 30 x 30 units, 10 epochs. MiniSom trains online, one sample after
another in float64; XPySom and fastersom have the batch rule, as ours by default, which is another algorithm with other
errors; ours with the online rule stands beside. Errors are by MiniSom on the trained units of each. MiniSom
has its default neighbourhood and, where it says so, one that begins at half the map like the others'. Speed is samples
times epochs by seconds of training; of ours, those of ``Trainer.fit``, with all that Lightning does.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

SIDE, EPOCHS, COUNT = 30, 10, 10_000


def pictures(root: str) -> np.ndarray:
    """Images (10000, 784), float32."""
    from torchvision.datasets import MNIST

    return (MNIST(root, download=True).data[:COUNT].flatten(1).float() / 255).numpy()


def minisom(
    x: np.ndarray, sigma: float, iterations: int, seed: int, side: int = SIDE
) -> tuple[float, float, np.ndarray]:
    """A training by MiniSom: seconds, CPU seconds, units."""
    from minisom import MiniSom

    som = MiniSom(side, side, x.shape[1], sigma=sigma, learning_rate=0.5, random_seed=seed)
    som.random_weights_init(x)
    start, cpu = time.perf_counter(), time.process_time()
    som.train(x, iterations, random_order=True)
    return time.perf_counter() - start, time.process_time() - cpu, som.get_weights()


def xpysom(x: np.ndarray, seed: int) -> tuple[float, float, np.ndarray]:
    """The same."""
    from xpysom import XPySom

    som = XPySom(SIDE, SIDE, x.shape[1], random_seed=seed)
    start, cpu = time.perf_counter(), time.process_time()
    som.train(x, EPOCHS)
    return time.perf_counter() - start, time.process_time() - cpu, som.get_weights()


def fastersom(x: np.ndarray, seed: int) -> tuple[float, float, np.ndarray]:
    """The same."""
    from fastersom import SOM

    som = SOM(n_rows=SIDE, n_cols=SIDE, n_epochs=EPOCHS, random_state=seed, device="cpu")
    start, cpu = time.perf_counter(), time.process_time()
    som.fit(x)
    return time.perf_counter() - start, time.process_time() - cpu, np.asarray(som.weights_).reshape(SIDE, SIDE, -1)


def ours(
    x: np.ndarray, seed: int, side: int = SIDE, epochs: int = EPOCHS, batch_size: int = 5000, **options: Any
) -> Any:
    """The same."""
    import lightning.pytorch as pl
    import torch

    from datamodules.loader import ShardedSampler, TensorLoader
    from zoo import SOMModule

    pl.seed_everything(seed, verbose=False)
    precision = options.pop("precision", "32-true")
    rows = torch.from_numpy(x)
    loader = TensorLoader({"input": rows}, batch_size, ShardedSampler(rows, shuffle=True, seed=seed))
    module = SOMModule((x.shape[1],), side, side, **options)
    quiet = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    trainer = pl.Trainer(max_epochs=epochs, precision=precision, accelerator="cpu", **dict.fromkeys(quiet, False))
    start, cpu = time.perf_counter(), time.process_time()
    trainer.fit(module, loader)
    return time.perf_counter() - start, time.process_time() - cpu, module.grid.numpy()


def errors(units: np.ndarray, x: np.ndarray) -> tuple[float, float]:
    """Quantisation and topographic error, by MiniSom."""
    from minisom import MiniSom

    judge = MiniSom(units.shape[0], units.shape[1], x.shape[1])
    judge._weights = units.astype(np.float64)
    return float(judge.quantization_error(x)), float(judge.topographic_error(x))


MNIST = {
    "ours, batch": lambda x, seed: ours(x, seed),
    "ours, batch, bf16-mixed": lambda x, seed: ours(x, seed, precision="bf16-mixed"),
    "ours, bf16-mixed, 2 updates an epoch": lambda x, seed: ours(
        x, seed, precision="bf16-mixed", updates_per_epoch=2, sigma=2.5, sigma_end=0.405
    ),
    "ours, online, batches of 50": lambda x, seed: ours(x, seed, rule="online", batch_size=50, sigma_end=0.4),
    "fastersom": lambda x, seed: fastersom(x, seed),
    "xpysom": lambda x, seed: xpysom(x, seed),
    "minisom": lambda x, seed: minisom(x, 1.0, EPOCHS * COUNT, seed),
    "minisom, sigma 15": lambda x, seed: minisom(x, 15.0, EPOCHS * COUNT, seed),
}
IRIS = {
    "ours, batch": lambda x, seed: ours(x, seed, side=8, epochs=20, batch_size=150),
    "ours, MiniSom's sigmas": lambda x, seed: ours(x, seed, 8, 20, 150, sigma=1.0, sigma_end=1 / 3),
    "ours, sigma 4 to 1/3": lambda x, seed: ours(x, seed, 8, 20, 150, sigma_end=1 / 3),
    "ours, online": lambda x, seed: ours(x, seed, side=8, epochs=7, batch_size=1, rule="online"),
    "minisom": lambda x, seed: minisom(x, 1.0, 1000, seed, side=8),
}


def child(options: argparse.Namespace) -> None:
    """One run; prints its results."""
    import torch

    torch.set_num_threads(options.threads)
    part, name = options.child.split("/", 1)
    if part == "mnist":
        x = pictures(options.root)
    else:
        from sklearn.datasets import load_iris

        x = load_iris().data.astype(np.float32)
        x = (x - x.mean(0)) / x.std(0)
    seconds, cpu, units = (MNIST if part == "mnist" else IRIS)[name](x, options.seed)
    epochs = EPOCHS if part == "mnist" else 1
    print("numbers", len(x) * epochs / seconds, cpu, *errors(units, x))


def run(name: str, seed: int, options: argparse.Namespace) -> list[float]:
    """In a process of its own."""
    threads = {key: str(options.threads) for key in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    path = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, __file__, "--root", options.root, "--threads", str(options.threads)]
    command += ["--child", name, "--seed", str(seed)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **threads, "PYTHONPATH": path})
    line = next((line for line in done.stdout.splitlines() if line.startswith("numbers ")), None)
    if line is None:
        print(f"{name}: {(done.stderr.strip().splitlines() or ['no output'])[-1]}", file=sys.stderr)
        return []
    print(f"{name}: {line}", file=sys.stderr, flush=True)
    return [float(part) for part in line.split()[1:]]


def main() -> None:
    """Take turns and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", default="data")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--slow-rounds", type=int, default=1, help="rounds of MiniSom and XPySom on MNIST")
    for hidden in ("--child", "--seed"):
        parser.add_argument(hidden, type=int if hidden == "--seed" else str, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options)
        return
    from timing import header

    names = [f"mnist/{name}" for name in MNIST] + [f"iris/{name}" for name in IRIS]
    found: dict[str, list[list[float]]] = {name: [] for name in names}
    for seed in range(options.rounds):
        for name in names:
            slow = name.startswith(("mnist/minisom", "mnist/xpysom"))
            if not slow or seed < options.slow_rounds:
                found[name] += [numbers] if (numbers := run(name, seed, options)) else []
    print(header(), f"{options.threads} threads, {options.rounds} rounds")
    print(f"{'':36s} {'samples/s':>10s} {'CPU s':>8s} {'quantisation':>12s} {'topographic':>12s}")
    for name, rows in found.items():
        if rows:
            speed, cpu, quantisation, topographic = (statistics.median(column) for column in zip(*rows, strict=True))
            print(f"{name:36s} {speed:10,.0f} {cpu:8.2f} {quantisation:12.4f} {topographic:12.4f}")


if __name__ == "__main__":
    main()

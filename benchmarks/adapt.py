"""Domain adaptation from MNIST to MNIST-M, digits on photographs, by every method of ``AdaptModule``.

    python benchmarks/adapt.py --root data --photographs data/cifar-10-batches-bin --seeds 5

MNIST-M is made as in the paper (Ganin et al. 2016), |patch - digit| in each channel, with patches of the photographs
named. "source only" never sees the target, "oracle" learns from its labels; the gap between them is what a method may
close. "views alone" is AdaMatch without its pseudo-labels: the effect of augmented source images and of both domains'
statistics. All have the same network, steps and batches of 64 of each domain, and the same learning rate, except for
DANN, which learns nothing at it; options are the module's defaults, chosen by the target's accuracy on other seeds, 100
and 101. Within a run nothing is chosen by the target's labels; the last weights are tested. With CIFAR-10's records,
the target's test images have patches of photographs that no training image has.
"""

import argparse
import statistics
import sys
import time
from typing import Any

import lightning.pytorch as pl
import torch
from timing import header

from datamodules.domains import Domains
from datamodules.mnist_m import MNISTM
from zoo import AdaptModule

QUIET = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
METHODS: dict[str, dict[str, Any]] = {
    "source only": {"method": "none"},
    "adabn": {"method": "adabn"},
    "coral": {"method": "coral"},
    "dann": {"method": "dann", "lr": 1e-3},
    "cdan": {"method": "cdan"},
    "views alone": {"method": "adamatch", "strength": 0.0},
    "adamatch": {"method": "adamatch"},
    "oracle": {"method": "none"},
}


def run(method: str, seed: int, options: argparse.Namespace) -> float:
    """Accuracy on the target's test images, in percent."""
    pl.seed_everything(seed, verbose=False)
    data: Any
    if method == "oracle":
        data = MNISTM(options.root, options.photographs, batch_size=64, seed=seed)
    else:
        where = {"root": options.root, "photographs": options.photographs}
        data = Domains("mnist", "mnist_m", **where, batch_size=64, seed=seed)
    module = AdaptModule((3, 28, 28), 10, **{"lr": options.lr, **METHODS[method]})
    trainer = pl.Trainer(
        max_steps=options.steps, max_epochs=-1, precision=options.precision, limit_val_batches=0, **QUIET
    )
    trainer.fit(module, data)
    return 100 * trainer.test(module, data, verbose=False)[0]["test/score"]


def main() -> None:
    """Print the accuracy of all methods, seed by seed, and the share of the gap that each closes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", default="data")
    parser.add_argument("--photographs", default="", help="folder of images, or of CIFAR-10's binary records")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--precision", default="bf16-mixed")
    parser.add_argument("--methods", nargs="*", choices=METHODS, default=list(METHODS))
    options = parser.parse_args()
    print(header(), f"{torch.get_num_threads()} threads", " ".join(sys.argv[1:]), flush=True)
    found: dict[str, list[float]] = {method: [] for method in options.methods}
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        for method in options.methods:
            begin = time.perf_counter()
            found[method].append(run(method, seed, options))
            seconds = time.perf_counter() - begin
            print(f"seed {seed} {method:12s} {found[method][-1]:6.2f} {seconds:5.0f} s", file=sys.stderr, flush=True)
    for method, values in found.items():
        each = " ".join(f"{value:.1f}" for value in values)
        line = f"{method:12s} {each}  mean {statistics.mean(values):6.2f}"
        if {"source only", "oracle"} <= set(found):
            pairs = zip(values, found["source only"], found["oracle"], strict=True)
            line += f"  of the gap {statistics.mean((v - low) / (high - low) for v, low, high in pairs):6.1%}"
        print(line)


if __name__ == "__main__":
    main()

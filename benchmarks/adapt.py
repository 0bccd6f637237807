"""From MNIST to MNIST-M: how much of the way from a classifier of the source to one trained on the target is gained.

    python benchmarks/adapt.py --root data --photographs data/CIFAR10-subset/cifar-10-batches-bin --seeds 5

Every method has the same network, steps, batches, rate and precision, and the weights tested are the last: no choice is
made by the target's labels. ``oracle`` has these labels and nothing of the source. "strong views, no pseudo-labels" is
AdaMatch with strength 0: what its change of pictures alone gains. The target's test pictures are blended with
photographs that no training picture is blended with. Options were chosen on seeds from 100 on.
"""

import argparse
import statistics
import sys
import time
from typing import Any

import lightning.pytorch as pl
from timing import header

from datamodules.domains import Domains
from zoo import AdaptModule

QUIET = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
SOURCE_ONLY, ORACLE = "source only", "oracle"
METHODS: dict[str, dict[str, Any]] = {
    SOURCE_ONLY: {"method": "none"},
    "AdaBN": {"method": "adabn"},
    "CORAL": {"method": "coral"},
    "DANN": {"method": "dann"},
    "CDAN+E": {"method": "cdan"},
    "strong views, no pseudo-labels": {"method": "adamatch", "strength": 0.0},
    "AdaMatch": {"method": "adamatch"},
    ORACLE: {"method": "none"},
}


def score(name: str, seed: int, options: argparse.Namespace, **changes: Any) -> tuple[float, float]:
    """Accuracy on the target's test pictures, %, and seconds of training."""
    pl.seed_everything(seed, verbose=False)
    source = "mnist_m" if name == ORACLE else "mnist"
    data = Domains(source, "mnist_m", options.root, options.photographs, batch_size=64, seed=seed)
    module = AdaptModule(data.input_shape, data.num_classes, lr=options.lr, **{**METHODS[name], **changes})
    precision = options.precision
    trainer = pl.Trainer(max_steps=options.steps, precision=precision, limit_val_batches=0, accelerator="cpu", **QUIET)
    start = time.perf_counter()
    trainer.fit(module, data)
    seconds = time.perf_counter() - start
    return 100 * trainer.test(module, data, verbose=False)[0]["test/score"], seconds


def table(found: dict[str, list[float]]) -> None:
    """A row a method: each seed, the mean, and the share of the gap that it closes, by means and at the least."""
    low, high = found.get(SOURCE_ONLY), found.get(ORACLE)
    for name, values in found.items():
        row = f"| {name} | {' '.join(f'{v:.1f}' for v in values)} | {statistics.mean(values):.1f} |"
        if low and high:
            gained = [(v - a) / (b - a) for v, a, b in zip(values, low, high, strict=True)]
            row += f" {statistics.mean(gained):.0%} | {min(gained):.0%} |"
        print(row)


def main() -> None:
    """All methods, seed after seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", default="data")
    parser.add_argument("--photographs", default="")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--precision", default="bf16-mixed")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", choices=METHODS, default=list(METHODS))
    options = parser.parse_args()
    found: dict[str, list[float]] = {name: [] for name in options.only}
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        for name, values in found.items():
            accuracy, seconds = score(name, seed, options)
            values.append(accuracy)
            print(f"seed {seed}: {name} {accuracy:.2f} % in {seconds:.0f} s", file=sys.stderr, flush=True)
    print(header(), " ".join(sys.argv[1:]))
    table(found)


if __name__ == "__main__":
    main()

"""Does pretraining pay where labels are few? The default run of ``--module finetune``, over choices of the labels.

    python benchmarks/few_labels.py --labels 2 5 10 --seeds 10

For each seed a map is trained on all 1,295 training images without their labels, fine-tuned on the labelled ones, and
compared on the 359 test images with a convolutional network that learns from the labels alone, for as long. Both keep
the weights with the best validation. Sizes and lengths were chosen by validation images, with label seeds 100 to 104.
"""

import argparse
import logging
import statistics
import sys
import tempfile
from pathlib import Path

import lightning.pytorch as pl
from lightning.pytorch.callbacks import ModelCheckpoint
from timing import header

from callbacks.predictions.baseline_comparison import BaselineComparison
from datamodules.images import Digits
from zoo import FinetuneModule
from zoo.functional.intervals import mean_interval

QUIET = dict.fromkeys(("logger", "enable_progress_bar", "enable_model_summary"), False)


def run(labels: int, seed: int, epochs: int, pretraining: str, mode: str, folder: str) -> tuple[float, float]:
    """Accuracy in per cent with pretraining and from scratch."""
    pl.seed_everything(seed, verbose=False)
    data = Digits(labels_per_class=labels, labelled_only=True, label_seed=seed)
    module = FinetuneModule(data.input_shape, 10, data.class_names, mode=mode, pretraining=pretraining)
    best, comparison = (
        ModelCheckpoint(Path(folder) / f"{labels}-{seed}", monitor="val/score", mode="max"),
        BaselineComparison(),
    )
    trainer = pl.Trainer(
        max_epochs=epochs, accelerator="cpu", log_every_n_steps=1000, callbacks=[best, comparison], **QUIET
    )
    trainer.fit(module, data)
    trainer.test(module, data, ckpt_path=best.best_model_path, weights_only=True, verbose=False)
    (found,) = comparison.findings(trainer, module)
    return 100 * found.value, 100 * found.references[0].value


def text(values: list[float]) -> str:
    """Mean and 95 % interval."""
    low, high = mean_interval(values)
    return f"{statistics.mean(values):5.1f} ({low:.1f} to {high:.1f})"


def main() -> None:
    """Run all budgets and seeds; prints a line for each budget."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labels", nargs="*", type=int, default=[5], help="labels per class")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--pretraining", default="auto")
    parser.add_argument("--mode", default="lp_ft")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    print(header(), " ".join(sys.argv[1:]))
    with tempfile.TemporaryDirectory() as folder:
        for labels in options.labels:
            same = options.epochs, options.pretraining, options.mode, folder
            found = [run(labels, seed, *same) for seed in range(options.seeds)]
            ours, theirs = ([pair[i] for pair in found] for i in (0, 1))
            gain = text([a - b for a, b in found])
            print(
                f"{labels} labels a class: pretrained {text(ours)}, from scratch {text(theirs)}, gain {gain}",
                flush=True,
            )


if __name__ == "__main__":
    main()

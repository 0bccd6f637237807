"""Batches of MNIST per second: this project's loader compared with torch's DataLoader over torchvision's MNIST.

    python benchmarks/loader.py --root data

Both give shuffled float batches of 128 in [0, 1] with labels. The threads are pinned alike.
"""

import argparse
from itertools import islice

import torch
from timing import header, interleaved
from torch.utils.data import DataLoader
from torchvision import datasets
from torchvision.transforms import ToTensor

from datamodules.images import MNIST


def main() -> None:
    """Print batches/s and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", default="data")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    ours = MNIST(options.root)
    ours.prepare_data()
    ours.setup()
    theirs = datasets.MNIST(options.root, download=True, transform=ToTensor())
    loader = ours.train_dataloader()
    count = 400

    def run_ours() -> None:
        for batch in islice(loader, count):
            ours.on_after_batch_transfer(batch, 0)

    def run_theirs(workers: int) -> None:
        for _ in islice(DataLoader(theirs, 128, shuffle=True, num_workers=workers), count):
            pass

    batch = ours.on_after_batch_transfer(next(iter(loader)), 0)
    reference, _ = next(iter(DataLoader(theirs, 128)))
    assert batch["input"].shape == reference.shape and batch["input"].dtype == reference.dtype
    assert abs(batch["input"].mean() - reference.mean()) < 0.02

    candidates = {"ours": run_ours, "0 workers": lambda: run_theirs(0), "2 workers": lambda: run_theirs(2)}
    seconds = interleaved(candidates, options.rounds)
    print(header(), f"{options.threads} thread(s), median of {options.rounds} rounds of {count} batches")
    for name, value in seconds.items():
        print(f"{name:<10} {count / value:10,.0f} batches/s   {value / seconds['ours']:6.1f} times ours' time")


if __name__ == "__main__":
    main()

"""Overhead of a training step: our default Trainer compared with a handwritten loop.

    python benchmarks/overhead.py

The network is one layer, so that nearly all is overhead; the loop by hand has the same loader, loss and steps, once
with the same fused AdamW and once with torch's default AdamW, which is what people write.
"""

import argparse
import tempfile
import time
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from timing import header, interleaved
from torch import Tensor

from callbacks.features.latent_map import LatentMap
from callbacks.run.interrupt import Interrupt
from callbacks.run.progress import Progress
from callbacks.samples.grid import SampleGrid
from datamodules.loader import ShardedSampler, TensorLoader
from zoo.cli.lightning import NoProfiler
from zoo.core.base import ZooModule
from zoo.core.checkpoint import AtomicCheckpointIO
from zoo.core.optim import configure

INPUT, OUTPUT, BATCH = 32, 2, 64


class OneLayer(ZooModule):
    """The smallest module that can be trained."""

    monitor = "train/loss"

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(INPUT, OUTPUT)

    def loss(self, batch: Any) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean square of the outputs."""
        return self.layer(batch["input"]).square().mean(), {}

    def configure_optimizers(self) -> Any:
        """The zoo's default."""
        return configure(self, "adamw", "constant", 1e-3)


def batches(steps: int) -> TensorLoader:
    """``steps`` batches of noise."""
    data = torch.randn(steps * BATCH, INPUT)
    return TensorLoader({"input": data}, BATCH, ShardedSampler(data, shuffle=True))


def by_hand(loader: TensorLoader, fused: bool) -> None:
    """A handwritten loop."""
    layer = torch.nn.Linear(INPUT, OUTPUT)
    optimizer = torch.optim.AdamW(layer.parameters(), lr=1e-3, fused=fused)
    for batch in loader:
        loss = layer(batch["input"]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def trainer_seconds(loader: TensorLoader, folder: str) -> float:
    """The training loop alone, without setting up and tearing down."""
    marks: list[float] = []

    class Marks(OneLayer):
        def on_train_start(self) -> None:
            marks.append(time.perf_counter())

        def on_train_end(self) -> None:
            marks.append(time.perf_counter())

    trainer = pl.Trainer(  # as the command line makes it
        max_epochs=1,
        accelerator="cpu",
        logger=CSVLogger(folder),
        callbacks=[SampleGrid(), LatentMap(), ModelCheckpoint(save_last=True), Interrupt(), Progress()],
        plugins=[AtomicCheckpointIO()],
        profiler=NoProfiler(),
        enable_model_summary=False,
    )
    trainer.fit(Marks(), loader)
    return marks[1] - marks[0]


def main() -> None:
    """Print microseconds a step."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    loader = batches(options.steps)
    inside: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        candidates = {
            "by hand, same optimizer": lambda: by_hand(loader, fused=True),
            "by hand, torch's default": lambda: by_hand(loader, fused=False),
            "our default Trainer": lambda: inside.append(trainer_seconds(loader, folder)),
        }
        seconds = interleaved(candidates, options.rounds)
    seconds["our default Trainer"] = sorted(inside[1:])[len(inside[1:]) // 2]
    step = {name: value / options.steps * 1e6 for name, value in seconds.items()}
    print(header(), f"1 thread, median of {options.rounds} rounds of {options.steps} steps")
    for name, value in step.items():
        beyond = step["our default Trainer"] - value
        print(f"{name:<26} {value:7.0f} us a step   ours less this: {beyond:5.0f} us = {beyond / 10:4.1f} % of 1 ms")


if __name__ == "__main__":
    main()

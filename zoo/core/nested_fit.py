"""A training within a training: of a network that another one needs first, or is compared with."""

import copy
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.strategies import SingleDeviceStrategy

from zoo.core.checkpoint import AtomicCheckpointIO


def fit_nested(
    trainer: Any, module: pl.LightningModule, epochs: int | None, steps: int = -1, save_to: Path | None = None
) -> None:
    """Train another module on the training data of a trainer that is fitting, whose state does not change.

    The first process trains, without output, on its device and in its precision; then all get the weights.

    Args:
        trainer: Trainer that is fitting.
        module: Module to train; it is moved to the trainer's device, and left in eval mode.
        epochs: Limit of epochs; None is none.
        steps: Limit of steps; -1 is none.
        save_to: Path of a checkpoint without the optimiser, or None.
    """
    device = trainer.strategy.root_device
    if trainer.is_global_zero:
        accelerator = {"cuda": "gpu"}.get(device.type, device.type)
        other = pl.Trainer(
            accelerator=accelerator,
            strategy=SingleDeviceStrategy(device),
            precision=trainer.precision,
            max_epochs=-1 if epochs is None else epochs,
            max_steps=steps,
            limit_train_batches=trainer.limit_train_batches,
            limit_val_batches=0,
            plugins=[AtomicCheckpointIO()],
            accumulate_grad_batches=trainer.accumulate_grad_batches,
            gradient_clip_val=trainer.gradient_clip_val,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            data = getattr(trainer, "datamodule", None)
            other.fit(module, *([copy.copy(data)] if data else [trainer.train_dataloader]))
        if save_to is not None:
            other.save_checkpoint(save_to, weights_only=True)
    module.to(device).eval()
    if trainer.world_size > 1:
        state = trainer.strategy.broadcast({name: value.cpu() for name, value in module.state_dict().items()}, 0)
        module.load_state_dict(state)

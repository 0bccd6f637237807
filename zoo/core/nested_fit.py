"""A training within a training: of a network that another one needs first, or is compared with."""

import copy
from pathlib import Path
from types import MethodType
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.strategies import SingleDeviceStrategy
from torch import Tensor

from zoo.core.checkpoint import AtomicCheckpointIO
from zoo.core.distributed import alone


def fit_nested(
    trainer: Any,
    module: pl.LightningModule,
    epochs: int | None,
    steps: int = -1,
    save_to: Path | None = None,
    data: Any = None,
) -> None:
    """Train another module on the training data of a trainer that is fitting, whose state does not change.

    The first process trains, without output, on its device and in its precision; then all get the weights. Where the
    trainer keeps its best checkpoint by the module's ``monitor``, the weights with the best validation are kept here,
    too; otherwise the last.

    Args:
        trainer: Trainer that is fitting.
        module: Module to train; it is moved to the trainer's device, and left in eval mode.
        epochs: Limit of epochs; None is none.
        steps: Limit of steps; -1 is none.
        save_to: Path of a checkpoint without the optimiser, or None.
        data: Datamodule to train on in place of the trainer's own.
    """
    device = trainer.strategy.root_device
    if trainer.is_global_zero:
        chosen = _BestWeights(module) if data is None and _chooses_by(trainer, module) else None
        other = _nested_trainer(trainer, epochs, steps, chosen)
        data = data or getattr(trainer, "datamodule", None)
        loaders = [_prepared(data)] if data else [trainer.train_dataloader, trainer.val_dataloaders]
        with _own_randomness(device), alone(module):
            other.fit(module, *loaders)
        if chosen is not None and chosen.state is not None:
            module.load_state_dict(chosen.state)
        if save_to is not None:
            other.save_checkpoint(save_to, weights_only=True)
    module.to(device).eval()
    if trainer.world_size > 1:
        state = trainer.strategy.broadcast({name: value.cpu() for name, value in module.state_dict().items()}, 0)
        module.load_state_dict(state)


def predict_nested(trainer: Any, module: pl.LightningModule, data: Any) -> Tensor:
    """Predictions (N, C) of another module for the samples that a datamodule predicts, on the CPU, in their order.

    Args:
        trainer: Trainer that is fitting; its state does not change, and its process alone predicts.
        module: Module whose ``predict_step`` gives (B, C).
        data: Datamodule.
    """
    with _own_randomness(trainer.strategy.root_device), alone(module):
        batches = _nested_trainer(trainer, 0).predict(module, _prepared(data))
    module.to(trainer.strategy.root_device)
    return torch.cat([batch.float().cpu() for batch in batches or []])  # type: ignore[union-attr]


def _prepared(data: Any) -> Any:
    """A copy of a datamodule whose files are there already, for one process alone.

    Where a datamodule has a ``prepare_data`` of its own, Lightning lets all processes wait for it, and the others do
    not train: they would wait for each other for ever.
    """
    found = copy.copy(data)
    found.prepare_data = MethodType(pl.LightningDataModule.prepare_data, found)
    return found


def _chooses_by(trainer: Any, module: Any) -> bool:
    """Whether the trainer's best checkpoint is by the metric that the module names."""
    monitor = getattr(module, "monitor", None)
    return monitor is not None and any(getattr(c, "monitor", None) == monitor for c in trainer.checkpoint_callbacks)


def _nested_trainer(trainer: Any, epochs: int | None, steps: int = -1, chosen: pl.Callback | None = None) -> pl.Trainer:
    """A silent trainer on one device that differs from another in nothing that changes the weights."""
    device = trainer.strategy.root_device
    return pl.Trainer(
        accelerator={"cuda": "gpu"}.get(device.type, device.type),
        strategy=SingleDeviceStrategy(device),
        precision=trainer.precision,
        max_epochs=-1 if epochs is None else epochs,
        max_steps=steps,
        callbacks=[chosen] if chosen else [],
        limit_train_batches=trainer.limit_train_batches,
        limit_val_batches=trainer.limit_val_batches if chosen else 0,
        check_val_every_n_epoch=trainer.check_val_every_n_epoch,
        val_check_interval=trainer.val_check_interval,
        num_sanity_val_steps=0,
        plugins=[AtomicCheckpointIO()],
        accumulate_grad_batches=trainer.accumulate_grad_batches,
        gradient_clip_val=trainer.gradient_clip_val,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def _own_randomness(device: torch.device) -> Any:
    return torch.random.fork_rng(devices=[device] if device.type == "cuda" else [])


class _BestWeights(pl.Callback):
    """The weights with the best value of the module's ``monitor``, as ``best.ckpt`` has them, in memory."""

    def __init__(self, module: Any) -> None:
        self.monitor, self.sign = module.monitor, -1 if module.monitor_mode == "min" else 1
        self.best = -torch.inf
        self.state: dict[str, Any] | None = None

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        value = trainer.callback_metrics.get(self.monitor)
        if value is not None and self.sign * float(value) > self.best:
            self.best, self.state = self.sign * float(value), copy.deepcopy(pl_module.state_dict())

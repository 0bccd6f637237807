"""The weights that are a run's result: one set for its best checkpoint, its table, its exports and its figures."""

from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import Tensor

from zoo.cli.shorthand import load
from zoo.registry import CHECKPOINT


class FinalWeights(pl.Callback):
    """What a checkpoint would hold when training ends, before other callbacks' last act; it must come first of all."""

    def __init__(self) -> None:
        self.state: dict[str, Tensor] = {}

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.state = {name: value.detach().cpu().clone() for name, value in saved_state(trainer).items()}

    def changed_since(self, trainer: pl.Trainer) -> bool:
        """Whether a checkpoint of now would differ, on any process; forgets the weights."""
        before, self.state = self.state, {}
        now = saved_state(trainer)
        same = all(
            name in now and torch.equal(torch.nan_to_num(value), torch.nan_to_num(now[name].detach().cpu()))
            for name, value in before.items()
        )
        return bool(trainer.strategy.reduce_boolean_decision(not same, all=False))


def saved_state(trainer: pl.Trainer) -> dict[str, Tensor]:
    """The weights that a checkpoint holds: callbacks such as an average put theirs in place of the module's."""
    checkpoint: dict[str, Any] = {"state_dict": trainer.strategy.lightning_module_state_dict()}
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        callback.on_save_checkpoint(trainer, trainer.lightning_module, checkpoint)
    return {name: value for name, value in checkpoint["state_dict"].items() if isinstance(value, Tensor)}


def best_checkpoint(trainer: pl.Trainer) -> Any:
    """The callback of the option ``checkpoint``; None without."""
    return next((each for each in trainer.checkpoint_callbacks if isinstance(each, load(CHECKPOINT))), None)


def settle(trainer: pl.Trainer, module: pl.LightningModule, datamodule: Any, final: FinalWeights) -> str:
    """Give the module the weights of the best checkpoint, as the file has them, whatever callbacks do on loading.

    Where the end of training changed the weights (an average over the last epochs, a pruning), these are what was asked
    for: they are validated, and best and last checkpoint are written anew.

    Returns:
        The best checkpoint's path; "" where none is kept, and the module has its last weights.
    """
    best = best_checkpoint(trainer)
    if final.state and final.changed_since(trainer) and best is not None and best.save_top_k:
        _keep_as_best(trainer, module, datamodule, best)
    path = str(getattr(best, "best_model_path", ""))
    if path:
        checkpoint = trainer.strategy.load_checkpoint(path)
        module.on_load_checkpoint(checkpoint)
        module.load_state_dict(checkpoint["state_dict"], strict=module.strict_loading)
    return path


def _keep_as_best(trainer: pl.Trainer, module: pl.LightningModule, datamodule: Any, best: ModelCheckpoint) -> None:
    """Validate the module as it is, and let it be the best and the last."""
    before = best.best_model_score
    validates = is_overridden("validation_step", module) and sum(trainer.num_val_batches) > 0
    found = trainer.validate(module, datamodule, verbose=False)[0] if validates else {}
    score = found.get(str(best.monitor))
    path = best.best_model_path or f"{best.dirpath}/best.ckpt"
    best.best_model_path = best.kth_best_model_path = path
    best.best_model_score = best.kth_value = None if score is None else torch.tensor(score)  # type: ignore[assignment]
    best.best_k_models = {} if score is None else {path: torch.tensor(score)}
    for file in dict.fromkeys((path, *(each.best_model_path for each in _last(trainer)))):
        trainer.save_checkpoint(file)
    value = "" if score is None else f": {best.monitor} {score:.5g}"
    others = "" if score is None or before is None else f" (the best while training {float(before):.5g})"
    trainer.print(f"the weights were changed when training ended; these are the result{value}{others}")


def _last(trainer: pl.Trainer) -> list[Any]:
    kind = load("callbacks.run.last_checkpoint.LastCheckpoint")
    return [each for each in trainer.checkpoint_callbacks if isinstance(each, kind)]


def test(trainer: pl.Trainer, module: pl.LightningModule, datamodule: Any) -> dict[str, Any]:
    """Metrics of the test with the module's weights; {} where the module or the data have none."""
    if datamodule is None or not is_overridden("test_step", module):
        return {}
    if isinstance(datamodule, pl.LightningDataModule) and not is_overridden("test_dataloader", datamodule):
        return {}
    found = trainer.test(module, datamodule, verbose=False)
    return dict(found[0]) if found else {}

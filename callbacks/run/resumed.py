"""What a resumed run takes from its checkpoint although something else was asked for."""

import logging
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.utilities import rank_zero_only

log = logging.getLogger(__name__)
_NO_OPTIONS = ("params", "fused", "foreach", "capturable", "differentiable", "maximize", "decoupled_weight_decay")


class ResumedOptions(pl.Callback):
    """Warns where an optimiser goes on with a checkpoint's learning rate, weight decay, momentum and so on, and others
    were given: Lightning restores an optimiser with its options."""

    def __init__(self) -> None:
        self._given: list[dict[str, Any]] = []

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._given = _options(trainer) if trainer.ckpt_path else []

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        changed: dict[str, tuple[Any, Any]] = {}
        for given, restored in zip(self._given, _options(trainer), strict=False):
            for name in given.keys() & restored.keys():
                if given[name] != restored[name]:
                    changed.setdefault(name, (given[name], restored[name]))
        for name, (given, restored) in sorted(changed.items()):
            _tell(
                "a resumed run keeps its optimiser's options: `%s` is %s, as in the checkpoint, not %s; for another "
                "value start a new run",
                name,
                restored,
                given,
            )


def _options(trainer: pl.Trainer) -> list[dict[str, Any]]:
    """Options of each group of parameters of all optimisers; the rate is the one that a schedule starts from."""
    groups = [group for optimizer in trainer.optimizers for group in optimizer.param_groups]
    found = [{name: _plain(value) for name, value in group.items() if name not in _NO_OPTIONS} for group in groups]
    return [{**options, "lr": options.pop("initial_lr", options.get("lr"))} for options in found]


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list | tuple) else value


@rank_zero_only
def _tell(text: str, *values: Any) -> None:
    log.warning(text, *values)

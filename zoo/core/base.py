"""The base of all modules: steps around ``loss``, reproducible randomness, checkpoints that name their module."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from zoo.core.batch import FEATURES, INPUT, PREDICTION, StepOutputs, as_mapping, require
from zoo.core.checkpoint import CheckpointedModule
from zoo.core.findings import Headline
from zoo.functional.randomness import seed_generator

# Methods that give what a step returns: it is kept if a subclass has none of its own.
_METHODS = {FEATURES: ("encode",), PREDICTION: ("forward", "classify"), "best_matching_units": ("best_matching_units",)}


class ZooModule(CheckpointedModule):
    """Define ``loss(batch) -> (loss, dict to log)``, ``encode`` and ``configure_optimizers``, and it trains.

    The best checkpoint has the least (``monitor_mode`` "min") or the most ("max") of ``monitor``; None is the last one.
    Each step seeds torch's generator from (seed, epoch, batch, rank), so that a resumed run repeats an unbroken one.
    """

    monitor: str | None = "val/loss"
    monitor_mode = "min"
    input_key = INPUT  # key of the module's input in a batch
    headline: ClassVar = Headline()  # the question that a run answers, and by which findings
    # For the tests of every technique.
    batch_independent: ClassVar[str] = ""  # why two half batches, or processes, differ from a whole; "" if they do not
    deterministic_options: ClassVar[dict[str, Any]] = {}  # with which training draws no noise, to compare such halves
    artifacts: ClassVar[tuple[str, ...]] = ("encoder/encoder.json", "latent_map.png")  # files that every run leaves
    takes_tuples: ClassVar[bool] = True  # (input, label) pairs from any loader are enough
    stops_exactly: ClassVar[bool] = True  # resuming from mid-epoch gives the same result as no interruption
    hparams: Any  # plain values; Lightning declares a mapping, but it has attributes too
    divergence_hint = "try a lower `lr`, `trainer.gradient_clip_val` 1, or `trainer.precision` 32-true"

    def __init__(self) -> None:
        super().__init__()
        self._steps = 0
        self._sums: dict[str, Tensor] = {}  # since the last log, on the device: reading them would stall a GPU
        self._outputs: StepOutputs | None = None  # of an evaluation step

    def __setattr__(self, name: str, value: Any) -> None:
        # Lightning sets a string attribute some forty times a step; torch's own __setattr__ is slow.
        if type(value) is str and name in self.__dict__:
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    def loss(self, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        """The technique: from a batch the scalar to minimise, and scalars to log beside it."""
        raise NotImplementedError(f"{type(self).__name__} must define loss(batch)")

    def forward(self, x: Tensor) -> Tensor:
        """Inputs (B, ...) to features (B, D), by ``encode``."""
        return self.encode(x)  # type: ignore[no-any-return, operator]

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        seed_generator(self.device, self._seed, self.current_epoch, batch_idx, self.global_rank)
        loss, logs = self.loss(as_mapping(batch, self.input_key))
        for name, value in {"loss": loss, **logs}.items():
            self._sums[name] = self._sums.get(name, 0) + value.detach()
        self._steps += 1
        if (self.global_step + 1) % self.trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            self._record()
        return loss

    def _record(self) -> None:
        """Log the means since the last call; raises where the loss is not finite."""
        means = {f"train/{name}": total / self._steps for name, total in self._sums.items()}
        self._sums, self._steps = {}, 0
        if means and not torch.isfinite(means["train/loss"]):
            raise ValueError(f"the loss became {means['train/loss'].item()}: {self.divergence_hint}")
        self.log_dict(means, prog_bar=True)

    on_train_epoch_end = _record

    def validation_step(self, batch: Any, batch_idx: int) -> dict[str, Tensor]:
        return self._evaluate("val", as_mapping(batch, self.input_key), batch_idx)

    def test_step(self, batch: Any, batch_idx: int) -> dict[str, Tensor]:
        return self._evaluate("test", as_mapping(batch, self.input_key), batch_idx)

    def _evaluate(self, stage: str, batch: Mapping[str, Any], batch_idx: int) -> dict[str, Tensor]:
        """Log the loss; outputs that ``loss`` kept go to the callbacks."""
        seed_generator(self.device, self._seed, -1, batch_idx, self.global_rank)  # the same noise every time
        self._outputs = outputs = StepOutputs()
        loss, logs = self.loss(batch)
        self._outputs = None
        values = {f"{stage}/{name}": value for name, value in {"loss": loss, **logs}.items()}
        size = len(batch[self.input_key]) if self.input_key in batch else None
        self.log_dict(values, on_epoch=True, sync_dist=True, batch_size=size)
        return outputs

    def keep(self, owner: type, **outputs: Tensor) -> None:
        """Called by the ``loss`` of ``owner``: outputs that an evaluation step returns to callbacks, such as
        ``features`` (B, D), to save a second forward pass; but not those that a subclass computes in another way."""
        if self._outputs is None or torch.is_autocast_enabled(self.device.type):  # callbacks compute in full precision
            return
        for name, value in outputs.items():
            if all(getattr(type(self), m) is getattr(owner, m) for m in _METHODS.get(name, ())):
                self._outputs[name] = value.detach()

    def predict(self, x: Tensor) -> Tensor:
        """Predictions for inputs (B, ...), which ``predict_step`` returns: features unless a technique overrides it."""
        return self.encode(x)  # type: ignore[no-any-return, operator]

    def predict_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self.predict(require(as_mapping(batch, self.input_key), self.input_key, self))

    @property
    def training_summary(self) -> str:
        """Number of trainable parameters, for the line that announces a run."""
        return f"{sum(p.numel() for p in self.parameters() if p.requires_grad):,} parameters"

    def export_artifacts(self, folder: Path) -> list[tuple[str, str]]:
        """Write the technique's results beside its encoder; (name, path) of each."""
        return []

"""How well do features determine an input? The reconstruction error, compared with those of PCA and of the mean."""

from collections.abc import Mapping
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from callbacks.figures import FigureCallback, input_key_of
from callbacks.outputs import has_features
from zoo.core.arguments import at_least
from zoo.core.distributed import gather_rows, training_rows
from zoo.core.findings import Finding, Reference
from zoo.functional.features import principal_components

_WIDEST = 3072  # numbers of an input: the components of wider ones take minutes
_TITLES = {"pca": "PCA of the same size", "mean": "the mean of the training inputs"}


class Reconstruction(FigureCallback):
    """At test: ``reconstruction``, the mean squared error a number of ``reconstruct(batch)``, for modules that have it,
    unless they say by ``reconstructs_from_features = False`` that it takes more than the features.

    Beside it ``reconstruction_pca``, of as many principal components of the training inputs as ``encode`` has features
    (inputs of up to 3,072 numbers), and ``reconstruction_mean``, of their mean. Inputs are as the module sees them.

    Args:
        train_samples: Number of training samples at most, from which components and mean are taken.

    Raises:
        ValueError: an argument out of its range.
    """

    def __init__(self, train_samples: int = 10_000) -> None:
        super().__init__(every_n_epochs=0)
        at_least(2, train_samples=train_samples)
        self.train_samples = train_samples
        self._linear: tuple[Tensor, Tensor] | None = None  # mean and components of the training inputs
        self._errors: dict[str, list[Tensor]] = {}
        self._findings: list[Finding] = []

    def due(self, trainer: pl.Trainer) -> bool:
        """On all ranks alike, at test."""
        module: Any = trainer.lightning_module
        able = callable(getattr(module, "reconstruct", None)) and has_features(module)
        able = able and getattr(module, "reconstructs_from_features", True)
        return able and trainer.testing and not trainer.fast_dev_run  # type: ignore[attr-defined]

    @torch.no_grad()
    def collect(self, module: Any, batch: Mapping[str, Any], batch_idx: int, outputs: Any) -> None:
        """Keep each sample's errors."""
        x = batch.get(input_key_of(module))
        if x is None:
            return
        rows = x.flatten(1).float()
        if self._linear is None:
            self._fit(module, x)
        mean, components = self._linear  # type: ignore[misc]
        centred = rows - mean
        others = {"": module.reconstruct(batch).flatten(1).float() - rows, "_mean": centred}
        if components.shape[1]:
            others["_pca"] = centred - centred @ components @ components.T
        for name, difference in others.items():
            self._errors.setdefault(name, []).append(difference.square().mean(1).double())

    def _fit(self, module: Any, x: Tensor) -> None:
        train = training_rows(module.trainer, input_key_of(module), self.train_samples)
        dim = module.encode(x[:1]).flatten(1).shape[1] if train.shape[1] <= _WIDEST else 0
        mean, components = (train.mean(0), train.new_zeros(train.shape[1], 0))
        self._linear = principal_components(train, dim) if dim else (mean, components)

    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Log the means: metrics cannot be logged later."""
        errors = {name: gather_rows(torch.cat(parts), trainer.world_size) for name, parts in self._errors.items()}
        self._errors, self._linear = {}, None
        if errors and not self.finite(errors[""], "reconstructions"):
            errors = {}
        self._findings = [_finding(errors)] if errors else []
        logged = {f"test/reconstruction{name}": error.mean().float() for name, error in errors.items()}
        pl_module.log_dict(logged, rank_zero_only=True)

    def draw(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """The figure of reconstructions is another callback's."""

    def findings(self, trainer: pl.Trainer, module: pl.LightningModule) -> list[Finding]:
        """What the last test found, for the run's table and report."""
        return self._findings


def _finding(errors: Mapping[str, Tensor]) -> Finding:
    """Errors (M,) of all samples, "" those of the module."""
    own = errors[""]
    n, references = len(own), []
    for name, title in _TITLES.items():
        if f"_{name}" in errors:
            other = errors[f"_{name}"]
            baseline = name == "pca"
            references.append(Reference(title, other.mean().item(), None, _half(other - own), baseline))
    mean, half = own.mean().item(), _half(own)
    meaning = "mean squared error a number of the input, from its features alone; less is better"
    interval = (mean - half, mean + half)
    return Finding("reconstruction", "mean squared error", mean, meaning, samples=n, interval=interval,
                   references=tuple(references), higher_is_better=False, metric="reconstruction")  # fmt: skip


def _half(values: Tensor) -> float:
    """Half the 95 % interval of the mean of values (M,)."""
    return 1.96 * (values.std() / len(values) ** 0.5).item() if len(values) > 1 else float("inf")

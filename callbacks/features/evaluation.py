"""Did pretraining pay? Measures of features while they are learned, compared with what needs no learning."""

import copy
import logging
from collections.abc import Mapping
from typing import Any, ClassVar

import lightning.pytorch as pl
import torch
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn import functional as F

from callbacks.features.findings import feature_findings, plain_findings
from callbacks.figures import FigureCallback, FigureText, input_key_of
from callbacks.outputs import features_of, has_features
from zoo.core.arguments import at_least
from zoo.core.batch import LABEL, class_labels
from zoo.core.distributed import gather_rows, training_batches
from zoo.core.findings import Finding
from zoo.functional.features import (
    feature_spread,
    knn_correct,
    pca_features,
    rank_me,
    raw_pixels,
)
from zoo.functional.probe import fit_logistic

log = logging.getLogger(__name__)

_COLLAPSED = 0.05
_BASELINES = ("pixels", "pca", "untrained")


class Representation(FigureCallback):
    """Measures ``encode(x) -> (B, D)`` at validation and test; for modules that have it.

    With labels: ``knn`` (accuracy of the k nearest training samples' vote) and ``probe`` (of a logistic regression),
    each also for three baselines computed the same way: raw pixels, PCA of the same dimension, and the same network
    untrained. Without: only ``rank_me`` (effective rank of the features) and ``feature_std`` (their spread: 1 is even
    in all directions, 0 a single point), and a warning when they
    collapse, unless the module says by ``may_collapse = False`` that it cannot. Draws ``representation.png``.

    Args:
        k: Number of neighbours that vote.
        train_samples: Number of labelled training samples at most, encoded without augmentation.
        every_n_epochs: Epochs between evaluations while training; 0 evaluates only at the end.

    Raises:
        ValueError: an argument out of its range.
    """

    figures: ClassVar = {
        "representation": FigureText(
            "Features compared with baselines",
            "Bars of the features should end right of raw pixels, PCA and untrained.",
            60,
        ),
    }

    def __init__(self, k: int = 10, train_samples: int = 10_000, every_n_epochs: int = 5) -> None:
        super().__init__(every_n_epochs)
        at_least(1, k=k)
        at_least(2, train_samples=train_samples)
        self.k, self.train_samples = k, train_samples
        self._features: list[Tensor] = []
        self._inputs: list[Tensor] = []  # for the baselines, as long as those are not measured
        self._labels: list[Tensor] = []
        self._baselines: dict[str, dict[str, Tensor]] = {}  # what they have right, by stage: it does not change
        self._probes: dict[str, tuple[Tensor, Tensor]] = {}  # of the baselines: neither do their training features
        self._findings: list[Finding] = []  # of the last evaluation
        self._warned: set[str] = set()

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        if not callable(getattr(pl_module, "encode", None)):
            self._warn(f"{type(pl_module).__name__} has no encode(x): its features are not measured")

    def due(self, trainer: pl.Trainer) -> bool:
        """On all ranks alike: each encodes its share."""
        return self.due_anywhere(trainer) and has_features(trainer.lightning_module)

    def collect(self, module: pl.LightningModule, batch: Mapping[str, Any], batch_idx: int, outputs: Any) -> None:
        """Keep features and labels, and the inputs where baselines are still to be measured on them."""
        key = input_key_of(module)
        if key not in batch:
            return
        self._features.append(features_of(module, outputs, batch))
        self._labels.append(class_labels(batch, key))
        if LABEL in batch and _stage(module.trainer) not in self._baselines:
            self._inputs.append(batch[key])

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Measure: metrics can be logged here, and no longer when the figure is drawn."""
        if not self.due(trainer) or not self._features:
            return
        stage = _stage(trainer)
        found = self.measure(trainer, pl_module, stage)
        self._features, self._inputs, self._labels = [], [], []
        pl_module.log_dict({f"{stage}/{name}": value for name, value in found.items()}, rank_zero_only=True)
        if found.get("feature_std", 1) < _COLLAPSED and getattr(pl_module, "may_collapse", True):
            self._warn(f"the features have collapsed: their spread is {found['feature_std']:.3g}, 1 would be even")
        if "probe" in found and trainer.is_global_zero:
            self.save(trainer, _accuracy_figure(found), "representation")

    on_test_epoch_end = on_validation_epoch_end

    def draw(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Done already, where the metrics are."""

    @torch.no_grad()
    def measure(self, trainer: pl.Trainer, module: Any, stage: str) -> dict[str, float]:
        """All measures of what was collected, and of the baselines.

        Args:
            trainer: Trainer at work.
            module: Module whose features were collected.
            stage: "val" or "test".
        """
        features = gather_rows(torch.cat(self._features), trainer.world_size)
        truth = gather_rows(torch.cat(self._labels), trainer.world_size)
        if not self.finite(features, "features"):
            self._findings = []
            return {}
        found = {"rank_me": rank_me(features), "feature_std": feature_spread(features)}
        known = truth >= 0
        self._findings = plain_findings(found, features)
        if not known.any():
            return found
        baselines = self._encoders(module) if stage not in self._baselines else {}
        bank, labels = self._bank(trainer, input_key_of(module), {"": module.encode, **baselines})
        if len(labels) == 0 or labels.min() == labels.max() or not self.finite(bank[""], "training features"):
            return found
        test = {"": features[known], **{name: self._encoded(trainer, baselines[name])[known] for name in baselines}}
        if baselines:
            bank["_pca"], test["_pca"] = pca_features(bank["_pixels"], test["_pixels"], features.shape[1])
            scores = [self._scores(f"_{r}", bank, labels, test, truth[known]) for r in _BASELINES]
            self._baselines[stage] = {name: value for score in scores for name, value in score.items()}
        correct = {**self._scores("", bank, labels, test, truth[known]), **self._baselines[stage]}
        self._findings = feature_findings(correct, labels, truth[known], features.shape[1]) + self._findings
        return {**found, **{name: right.float().mean().item() for name, right in correct.items()}}

    def _scores(
        self, which: str, bank: dict[str, Tensor], labels: Tensor, test: dict[str, Tensor], truth: Tensor
    ) -> dict[str, Tensor]:
        """Which test samples neighbours and probe have right, (M,) bool each."""
        if len(labels) < self.k:
            self._warn(f"k is {self.k} but there are only {len(labels)} labelled training samples: all of them vote")
        knn = knn_correct(bank[which], labels, test[which], truth, self.k)
        weight, bias = self._probes.get(which) or fit_logistic(bank[which].float(), labels)
        if which:
            self._probes[which] = weight, bias
        probe = F.linear(test[which].float(), weight, bias).argmax(1) == truth
        return {f"knn{which}": knn, f"probe{which}": probe}

    def findings(self, trainer: pl.Trainer, module: pl.LightningModule) -> list[Finding]:
        """What the last evaluation found, for the run's table and report."""
        return self._findings

    def _encoded(self, trainer: pl.Trainer, encode: Any) -> Tensor:
        """A baseline's features (M, D) of all that was collected, on all ranks."""
        features = [encode(x).flatten(1).float() for x in self._inputs]
        return gather_rows(torch.cat(features), trainer.world_size)

    def _encoders(self, module: pl.LightningModule) -> dict[str, Any]:
        return {"_pixels": raw_pixels, "_untrained": untrained(module).encode}

    def _bank(self, trainer: pl.Trainer, key: str, encoders: dict[str, Any]) -> tuple[dict[str, Tensor], Tensor]:
        """Labelled training samples through all encoders, and their labels."""
        wanted = -(-self.train_samples // trainer.world_size)
        features: dict[str, list[Tensor]] = {name: [] for name in encoders}
        labels: list[Tensor] = []
        for batch in training_batches(trainer, key):
            if key not in batch or LABEL not in batch:
                break
            known = class_labels(batch, key)
            kept = (known >= 0).nonzero().squeeze(1)[: wanted - sum(map(len, labels))]
            labels.append(known[kept])
            for name, encode in encoders.items():
                features[name].append(encode(batch[key][kept]).flatten(1).float())
            if sum(map(len, labels)) >= wanted:
                break
        if not labels:
            return {}, torch.empty(0, dtype=torch.long)
        ranks = trainer.world_size
        found = {name: gather_rows(torch.cat(x), ranks) for name, x in features.items()}
        return found, gather_rows(torch.cat(labels), ranks)

    def _warn(self, text: str) -> None:
        if text.partition(":")[0] not in self._warned:
            self._warned.add(text.partition(":")[0])
            log.warning(text)


def _stage(trainer: pl.Trainer) -> str:
    return "test" if trainer.testing else "val"


def _accuracy_figure(found: dict[str, float]) -> Figure:
    names = {"pixels": "raw pixels", "pca": "PCA, same size", "untrained": "untrained network", "": "learned"}
    figure = Figure(figsize=(7, 3.2), layout="constrained")
    axes = figure.add_subplot()
    for offset, (measure, colour) in enumerate({"knn": "#9ab8d6", "probe": "#2c5f8a"}.items()):
        values = [found[f"{measure}_{name}" if name else measure] for name in names]
        bars = axes.barh([i + 0.38 * offset for i in range(len(names))], values, 0.36, color=colour, label=measure)
        axes.bar_label(bars, [f"{value:.1%}" for value in values], padding=3, fontsize=8)
    axes.set_yticks([i + 0.19 for i in range(len(names))], names.values())
    axes.invert_yaxis()
    axes.set_xlim(0, 1.08)
    axes.set_title("accuracy of k nearest neighbours (knn) and logistic regression (probe)", fontsize=10)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=8, frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def untrained(module: Any) -> Any:
    """A copy of the module with all its layers as they would begin; the same at every call."""
    fresh = copy.deepcopy(module).eval()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for layer in fresh.cpu().modules():
            if callable(getattr(layer, "reset_parameters", None)):
                layer.reset_parameters()
    return fresh.to(module.device)

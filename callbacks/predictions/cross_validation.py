"""How good is a classifier of few labels? All of them train it, and copies of it are tested on what each left out."""

import copy
import logging
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import lightning.pytorch as pl
import torch
from torch import Tensor

from callbacks.predictions.baseline_comparison import has_baseline
from callbacks.predictions.folds import repeated_folds
from zoo.core.arguments import at_least, more_than
from zoo.core.duration import duration
from zoo.core.findings import NUMBER, PERCENT, Finding, Reference
from zoo.core.nested_fit import fit_nested, predict_nested
from zoo.core.renamed import RenamedOptions
from zoo.functional.intervals import chance_difference, jackknife, wilson

log = logging.getLogger(__name__)
_LINE_INTERVAL = 10.0  # seconds between lines where the output is not a terminal


class CVResult(NamedTuple):
    """A cross-validated score: its mean over the repetitions, its 95 % interval, and what it is of."""

    score: float
    low: float
    high: float
    labels: int  # labelled samples that were held out once in each repetition
    per_repeat: tuple[float, ...]
    chance: float  # score of always the most frequent class; NaN where there are no classes
    baseline: float = float("nan")  # score of the baseline on the same folds; NaN without one
    difference: float = float("nan")  # the largest difference from it that is chance


class CrossValidation(pl.Callback, metaclass=RenamedOptions):
    """For data whose labels are so few that all of them train (``all_labels_train``): ``test/cv_score``.

    When training is over, the module is trained again from the same start, for as long, without a fold of the labelled
    samples, which it then predicts; and so for each fold of several divisions, stratified by class (scikit-learn's
    RepeatedStratifiedKFold; RepeatedKFold where labels are no classes). The score of all held-out samples together,
    averaged over the repetitions, is that of a module with a few labels less, so a little lower than the true one.
    The baseline that a module names (``train_baseline``) is trained on the same folds: ``test/cv_baseline``.

    The 95 % interval of an accuracy, ``test/cv_low`` to ``test/cv_high``, is Wilson's, with as many trials as labels
    that a fold's module learned from: repetitions average over divisions, but the samples remain the same, and those
    that are held out together share their module's luck. It has a width where all or none are right, too. In
    ``benchmarks/cross_validation.py`` it holds the truth in 88 to 98 % of all cases, by the problem; with all
    labels as trials it does in 92 %, and the corrected resampled t interval (Nadeau & Bengio 2003) misses most where
    accuracies are high. Of another score than accuracy it is the jackknife's.

    There is none where training was resumed, whose start has seen the labels.

    Args:
        folds: Number of folds, K: each time 1 / K of the labels is held out.
        repeats: Number of divisions into folds; 0 leaves cross-validation out.
        max_minutes: Minutes that it may take, by the time of the training: otherwise there are fewer repetitions, but
            one at least.
        seed: Seed of the divisions.

    Raises:
        ValueError: an argument out of its range.
    """

    def __init__(self, folds: int = 5, repeats: int = 5, max_minutes: float = 10.0, seed: int = 0) -> None:
        at_least(2, folds=folds)
        at_least(0, repeats=repeats)
        more_than(0, max_minutes=max_minutes)
        self.folds, self.repeats, self.max_minutes, self.seed = folds, repeats, max_minutes, seed
        self.result: CVResult | None = None
        self._starts: list[Any] = []  # the module's, and its baseline's
        self._began = self._ended = 0.0  # of the training's batches

    @property
    def results(self) -> dict[str, float]:
        """What is logged, by name; {} as long as there is nothing."""
        if self.result is None:
            return {}
        result = self.result
        baseline = {"test/cv_baseline": result.baseline} if result.baseline == result.baseline else {}
        return {"test/cv_score": result.score, "test/cv_low": result.low, "test/cv_high": result.high, **baseline}

    def state_dict(self) -> dict[str, Any]:
        return {} if self.result is None else {**self.result._asdict(), "per_repeat": list(self.result.per_repeat)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if state_dict:
            self.result = CVResult(**{**state_dict, "per_repeat": tuple(state_dict["per_repeat"])})

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self._starts, self._began = [], 0.0
        data = getattr(trainer, "datamodule", None)
        if not self.repeats or not getattr(data, "all_labels_train", False) or trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        if trainer.global_step:
            _say(trainer, "training was resumed: its labels are not cross-validated")
            return
        self.result, self._starts = None, [copy.deepcopy(pl_module)]  # before a probe is fitted
        if has_baseline(pl_module) and pl_module.hparams.train_baseline and (other := pl_module.baseline()):
            self._starts.append(other)

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self._began = self._began or time.perf_counter()  # not before: pretraining is not repeated

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self._ended = time.perf_counter()

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        starts, self._starts = self._starts, []
        if not starts:
            return
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        labels = data.labels_of("train")
        divisions, note = repeated_folds(labels, self.folds, self.repeats, self.seed, data.class_names or ())
        if note:
            _say(trainer, note)
        if not divisions:
            return
        divisions = divisions[: self._affordable(trainer, len(divisions[0]), len(starts))]
        predicted = self._predict(trainer, starts, data, divisions)
        if trainer.is_global_zero:
            scored = torch.cat(divisions[0]).sort().values
            predicted = [rows[:, scored] for rows in predicted]
            self.result = _result(pl_module, predicted, labels[scored], len(divisions[0]))
        self.result = trainer.strategy.broadcast(self.result)
        for logger in trainer.loggers:
            logger.log_metrics(self.results, trainer.global_step)

    def _affordable(self, trainer: pl.Trainer, folds: int, modules: int) -> int:
        """Number of repetitions within the time; the plan is told before it begins."""
        seconds = (self._ended - self._began) * (1 - 1 / folds)  # of one fit
        repeats = max(1, min(self.repeats, int(60 * self.max_minutes / max(1e-9, seconds * folds * modules))))
        repeats = trainer.strategy.broadcast(repeats)
        fewer = "" if repeats == self.repeats else f" (not {self.repeats}: `cross_validation.max_minutes`)"
        fits = repeats * folds * modules
        _say(
            trainer,
            f"cross-validation of the labels: {repeats} x {folds} folds{fewer}, {fits} fits"
            f"{' with those of the baseline' if modules > 1 else ''}, about "
            f"{duration(seconds * fits)}; `cross_validation.repeats` 0 leaves it out",
        )
        return repeats

    def _predict(
        self, trainer: pl.Trainer, starts: list[Any], data: Any, divisions: list[list[Tensor]]
    ) -> list[Tensor]:
        """Of each module the predictions (R, N, C) of the N training samples, whose labels it has not seen."""
        everything = torch.arange(len(data.labels_of("train")))
        predicted: list[dict[int, Tensor]] = [{} for _ in starts]
        folds = [(repeat, held_out) for repeat, division in enumerate(divisions) for held_out in division]
        fits = [(*fold, number) for fold in folds for number in range(len(starts))]
        began, current = time.perf_counter(), 0
        for repeat, held_out, number in _with_progress(trainer, fits):
            if repeat != current:  # a baseline may take longer than what was planned by the module's own training
                current = repeat
                if trainer.strategy.broadcast(time.perf_counter() - began > 60 * self.max_minutes):
                    break
            module = copy.deepcopy(starts[number])
            fold = data.fold(everything[~torch.isin(everything, held_out)], held_out)
            with _quiet():
                fit_nested(trainer, module, *_length(trainer), data=fold)
                found = predict_nested(trainer, module, fold) if trainer.is_global_zero else None
            if found is not None:
                empty = found.new_full((len(everything), *found.shape[1:]), torch.nan)
                predicted[number].setdefault(repeat, empty)[held_out] = found
        return [torch.stack(list(rows.values())) if rows else torch.empty(0) for rows in predicted]

    def findings(self, trainer: pl.Trainer, module: Any) -> list[Finding]:
        """The score, and those of the baseline on the same folds and of always the most frequent class."""
        if self.result is None:
            return []
        found, of_classes = self.result, self.result.chance == self.result.chance
        others = [Reference("most frequent class", found.chance)] if of_classes else []
        if found.baseline == found.baseline:
            name = module.contestants[1]
            others.insert(0, Reference(name, found.baseline, chance=found.difference, baseline=True))
        meaning = f"score on labels that were left out, {len(found.per_repeat)} x cross-validated; more is better"
        title, unit = ("accuracy, cross-validated", PERCENT) if of_classes else ("score, cross-validated", NUMBER)
        interval = (found.low, found.high)
        return [
            Finding(
                "accuracy", title, found.score, meaning, unit, found.labels, interval, tuple(others), metric="cv_score"
            )
        ]


def _result(module: Any, predicted: list[Tensor], labels: Tensor, folds: int) -> CVResult:
    """The scores of a module's and its baseline's predictions (R, N, C) and the data's labels of N samples.

    Each repetition's predictions are of all samples, by several modules.
    """
    labels = module.to_head_labels(labels.cpu()).cpu()
    labels = labels if module.task.scaled else labels.long()
    if module.hparams.task == "classification":
        return _of_classes(predicted, labels, folds)

    def score(number: int, rows: Tensor) -> list[float]:
        metric = module.task.metrics()["score"]
        values = []
        for prediction in predicted[number]:
            metric.reset()
            metric.update(prediction[rows], labels[rows])
            values.append(float(metric.compute()))
        return values

    def mean(number: int, rows: Tensor) -> float:
        return statistics.mean(score(number, rows))

    every = torch.arange(len(labels))
    without = [every[every != left_out] for left_out in every]
    own = mean(0, every)
    low, high = jackknife(own, [mean(0, rows) for rows in without])
    result = CVResult(own, low, min(1.0, high), len(labels), tuple(score(0, every)), float("nan"))
    if len(predicted) == 1:
        return result
    baseline = mean(1, every)
    bounds = jackknife(own - baseline, [mean(0, rows) - mean(1, rows) for rows in without])
    return result._replace(baseline=baseline, difference=(bounds[1] - bounds[0]) / 2)


def _of_classes(predicted: list[Tensor], labels: Tensor, folds: int) -> CVResult:
    """Accuracies, with as many trials as labels that a fold's module learned from, see ``CrossValidation``."""
    n, trials = len(labels), len(labels) * (1 - 1 / folds)
    right = [(rows.argmax(2) == labels).double() for rows in predicted]  # (R, N)
    score, frequent = right[0].mean().item(), (labels == labels.mode().values).double().mean().item()
    per_repeat = tuple(right[0].mean(1).tolist())
    result = CVResult(score, *wilson(score * trials, trials), n, per_repeat, frequent)
    if len(right) == 1:
        return result
    apart = [float((a * (1 - b)).mean(0).sum()) for a, b in (right, right[::-1])]  # samples that one alone has right
    share = trials / n
    chance = chance_difference(apart[0] * share, apart[1] * share, trials)
    return result._replace(baseline=right[1].mean().item(), difference=chance)


def _length(trainer: pl.Trainer) -> tuple[int | None, int]:
    """Limits of epochs and steps, those of the training; its steps where only the time limited it."""
    epochs = None if trainer.max_epochs in (None, -1) else trainer.max_epochs
    return epochs, trainer.global_step if epochs is None and trainer.max_steps == -1 else trainer.max_steps


def _with_progress(trainer: pl.Trainer, folds: list[Any]) -> Iterator[Any]:
    """The folds, with a line that says how many are done and how long the rest will take."""
    began, shown, terminal = time.perf_counter(), time.perf_counter(), sys.stderr.isatty()
    for done, fold in enumerate(folds, 1):
        yield fold
        now = time.perf_counter()
        if not trainer.is_global_zero or not (terminal or now - shown >= _LINE_INTERVAL):
            continue
        left = duration((now - began) / done * (len(folds) - done))
        line, shown = f"cross-validation  fit {done}/{len(folds)}  {left} left", now
        end = "\n" if not terminal or done == len(folds) else ""
        print(f"\r\x1b[K{line}" if terminal else line, end=end, file=sys.stderr, flush=True)


@contextmanager
def _quiet() -> Iterator[None]:
    """What the module warns of has been told when it was trained."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(level)


def _say(trainer: pl.Trainer, text: str) -> None:
    if trainer.is_global_zero:
        log.warning(text)

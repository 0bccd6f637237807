"""A module compared with its baseline: the same network without what the technique adds."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from callbacks.figures import evaluated, input_key_of
from callbacks.outputs import predictions_of
from callbacks.predictions.paired import paired_finding
from zoo.core.batch import LABEL, as_mapping
from zoo.core.checkpoint import read_checkpoint
from zoo.core.distributed import gather_rows
from zoo.core.findings import Finding
from zoo.core.nested_fit import fit_nested
from zoo.core.run_dir import run_dir

log = logging.getLogger(__name__)
_FILE = "baseline.ckpt"  # in the run's folder


class BaselineComparison(pl.Callback):
    """For modules that have a baseline: ``baseline_score`` when testing, and a finding with the range of chance.

    The baseline is trained when the training is over, for as long and on the same batches, and tested on the same
    samples. There is none with ``train_baseline`` false in the module's options, where training was resumed or where
    there are no labels; the ``test`` of a checkpoint reads it from the run's folder. What is needed is ``baseline()``,
    ``baseline_limits()``, ``contestants``, ``task`` and ``to_head_labels(labels)``.
    """

    def __init__(self) -> None:
        self._baseline: Any = None
        self._trained = self._labelled = False
        self._rows: dict[str, list[Tensor]] = {}
        self._found: list[Finding] = []

    def findings(self, trainer: pl.Trainer, module: Any) -> list[Finding]:
        """The last test's score and that of the baseline; none where there is nothing to compare with."""
        return self._found

    # Training

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self._trained = self._labelled = False
        wanted = has_baseline(pl_module) and pl_module.hparams.train_baseline and not trainer.global_step
        self._baseline = pl_module.baseline() if wanted else None  # now: it may begin with the module's weights

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if self._baseline is not None:
            self._labelled = self._labelled or LABEL in as_mapping(batch, pl_module.input_key)

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if self._baseline is None or not self._labelled:
            self._baseline = None
            return
        _, name = pl_module.contestants
        log.warning("to compare, %s is trained for as long (`train_baseline` false leaves it out)", name)
        keeps_files = trainer.loggers and not trainer.fast_dev_run  # type: ignore[attr-defined]
        path = run_dir(trainer) / _FILE if keeps_files else None
        epochs, steps = pl_module.baseline_limits()
        fit_nested(trainer, self._baseline, epochs, steps, save_to=path)
        self._baseline.interpolate_with_start()
        self._trained = True

    # Test

    def on_test_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self._rows, self._found = {}, []
        if has_baseline(pl_module) and not self._trained:  # here: another run's may have left one
            self._baseline = _read_baseline(trainer, pl_module)

    def others(self, module: Any) -> dict[str, Any]:
        """Functions from inputs (B, *input_shape) to predictions (B, C), by the name of the metric."""
        return {} if self._baseline is None else {"baseline": self._baseline.classify}

    @torch.no_grad()
    def on_test_batch_end(
        self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        if dataloader_idx or not has_baseline(pl_module) or not (others := self.others(pl_module)):
            return
        batch = evaluated(pl_module, batch)
        if LABEL in batch:
            self._keep(pl_module, outputs, batch, others)

    def _keep(self, module: Any, outputs: Any, batch: Mapping[str, Any], others: Mapping[str, Any]) -> None:
        prediction, labels = predictions_of(module, outputs, batch)
        labelled = module.task.labelled(labels)
        x = batch[input_key_of(module)][labelled]
        rows = {"labels": labels[labelled], "own": prediction[labelled]}
        rows |= {name: predict(x).float() if len(x) else rows["own"] for name, predict in others.items()}
        for name, values in rows.items():
            self._rows.setdefault(name, []).append(values)

    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        rows = {name: gather_rows(torch.cat(kept), trainer.world_size).cpu() for name, kept in self._rows.items()}
        self._rows = {}
        if not rows or not len(rows["labels"]):
            return
        finding = self.compare(pl_module, rows, _target_of(trainer))
        self._found = [finding]
        others = [name for name in rows if name not in ("labels", "own")]
        scores = dict(zip(others, (reference.value for reference in finding.references), strict=False))
        pl_module.log_dict({f"test/{name}_score": score for name, score in scores.items()})

    def compare(self, module: Any, rows: Mapping[str, Tensor], note: str) -> Finding:
        """The finding from predictions and labels of all test samples, by name."""
        own, name = module.contestants
        titles = {"baseline": (name, True)}
        others = {titles.get(key, (key, False)): value for key, value in rows.items() if key not in ("labels", "own")}
        named = {title: (value, baseline) for (title, baseline), value in others.items()}
        labels = rows["labels"] if module.task.scaled else rows["labels"].long()
        return paired_finding(own, rows["own"], named, labels, module.task, note)


def has_baseline(module: Any) -> bool:
    """Whether a module can be compared with a baseline."""
    return callable(getattr(module, "baseline", None)) and "train_baseline" in module.hparams


def _read_baseline(trainer: pl.Trainer, module: Any) -> Any:
    """The baseline that the run of the tested checkpoint left, or None."""
    tested = Path(str(trainer.ckpt_path or ""))
    path = next((folder / _FILE for folder in tested.parents[:2] if (folder / _FILE).is_file()), None)
    if path is None or (baseline := module.baseline()) is None:
        return None
    try:
        baseline.load_state_dict(read_checkpoint(path)["state_dict"])
    except (KeyError, RuntimeError, ValueError) as error:
        log.warning("%s is not compared with: %s", path, str(error).splitlines()[0])
        return None
    baseline.interpolate_with_start()
    return baseline.to(module.device).eval()


def _target_of(trainer: pl.Trainer) -> str:
    """Which domain is tested, of data that have two."""
    target = getattr(getattr(trainer, "datamodule", None), "target_name", "")
    return f"on {target}" if target else ""

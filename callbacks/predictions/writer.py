"""The files that ``predict`` writes."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.callbacks import BasePredictionWriter
from torch import Tensor

from zoo.core.atomic import atomic_write
from zoo.core.batch import INDEX
from zoo.core.distributed import gather_rows
from zoo.core.run_dir import run_dir


class Predictions(BasePredictionWriter):
    """``predictions.csv`` of a module that has ``classify(x)``: for each sample its path, the predicted class, and the
    probability of every class; of a regression, or a task of one's own, its values. Of any other module ``codes.npy``
    (N, D), and where there are paths ``paths.csv``.

    Samples are in the data's order, each once, on however many processes they were predicted. A path is the number of
    the sample where the datamodule has no ``names``.

    Raises:
        ValueError: not one sample could be read.
    """

    def __init__(self) -> None:
        super().__init__("batch")
        self._indices: list[Tensor] = []
        self._outputs: list[Tensor] = []
        self._folder = Path()

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if stage == "predict":
            self._folder = run_dir(trainer)  # here, since asking needs all ranks

    def write_on_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        prediction: Any,
        batch_indices: Sequence[int] | None,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        """Keep a batch's outputs and indices."""
        if not isinstance(prediction, Tensor):
            return
        count = sum(map(len, self._outputs))
        indices = batch.get(INDEX) if isinstance(batch, dict) else None
        if indices is None:  # of somebody else's loader: one after the other
            indices = torch.tensor(batch_indices or range(count, count + len(prediction)))
        self._indices.append(indices.cpu())
        self._outputs.append(prediction.flatten(1).float().cpu())

    def on_predict_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not self._outputs:
            return
        device = trainer.strategy.root_device
        both = (torch.cat(kept).to(device) for kept in (self._indices, self._outputs))
        indices, outputs = (gather_rows(kept, trainer.world_size).cpu() for kept in both)
        self._indices, self._outputs = [], []
        if not trainer.is_global_zero:
            return
        if not len(indices):
            raise ValueError("nothing to predict: not one sample could be read")
        order, first = np.unique(indices.numpy(), return_index=True)  # a process may have had another's sample, too
        names = list(getattr(getattr(trainer, "datamodule", None), "names", None) or [])
        rows = [names[index] if index < len(names) else index for index in order.tolist()]
        path = self._write(pl_module, rows, outputs[torch.from_numpy(first)])
        print(f"{len(rows):,} predictions in {path}", flush=True)

    def _write(self, module: Any, rows: list[Any], outputs: Tensor) -> Path:
        task = module.hparams.get("task") if callable(getattr(module, "classify", None)) else None
        if task is not None:
            table = as_table(rows, outputs, task, list(module.hparams.get("class_names") or ()))
            return _write_csv(self._folder / "predictions.csv", table)
        if isinstance(rows[0], str):
            _write_csv(self._folder / "paths.csv", [["path"], *([row] for row in rows)])
        return _write_array(self._folder / "codes.npy", outputs.numpy())


def as_table(rows: list[Any], outputs: Tensor, task: str, class_names: list[str]) -> list[list[Any]]:
    """Lines of a CSV file, the first its columns' names.

    Args:
        rows: Names of the samples.
        outputs: Probabilities (N, C), or values of a regression.
        task: Task of the module, "classification", "multilabel", "regression" or another.
        class_names: Names of the C classes, or none.
    """
    numbers = [[f"{value:.6g}" for value in line] for line in outputs.tolist()]
    names = class_names or [str(i) for i in range(outputs.shape[1])]
    if task not in ("classification", "multilabel"):
        header = ["path", *(class_names or [f"value_{i}" for i in range(outputs.shape[1])])]
        return [header, *([row, *line] for row, line in zip(rows, numbers, strict=True))]
    if task == "multilabel":
        predicted = [";".join(n for n, p in zip(names, line, strict=True) if p > 0.5) for line in outputs.tolist()]
    else:
        predicted = [names[i] for i in outputs.argmax(1).tolist()]
    lines = ([row, name, *line] for row, name, line in zip(rows, predicted, numbers, strict=True))
    return [["path", "class", *names], *lines]


def _write_csv(path: Path, lines: Iterable[Sequence[Any]]) -> Path:
    def write(tmp_path: str) -> None:
        with Path(tmp_path).open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(lines)

    atomic_write(path, write)
    return path


def _write_array(path: Path, array: Any) -> Path:
    def write(tmp_path: str) -> None:
        with Path(tmp_path).open("wb") as file:  # numpy adds an ending to a path
            np.save(file, array)

    atomic_write(path, write)
    return path

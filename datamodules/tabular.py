"""Tables of numbers: one sample a row."""

import copy
import hashlib
from collections.abc import Sequence
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor

from datamodules.base import SplitDataModule
from datamodules.encodings import check_encoding
from datamodules.label_budget import (
    FEW_LABELS,
    are_few,
    check_options,
    for_training,
    learns_from_labels,
    stratified_split,
    subsample_labels,
    tell_few,
)
from datamodules.loader import ShardedSampler, TensorLoader
from datamodules.table_files import Header
from datamodules.table_reader import BUNDLED, Choice, Table, read_table
from datamodules.table_splits import Fold, Splits, column_scale, tell_rounded
from zoo.core.arguments import at_least
from zoo.core.batch import INPUT, LABEL, SEED
from zoo.core.counts import count_labelled
from zoo.functional.finetune import Task, is_labelled
from zoo.functional.normalisation import column_names

_TEST = 0.2
_FEWEST = 5  # rows that can be divided in three


class Vectors(SplitDataModule):
    """Rows of a table in batches ``{"input": (B, D) float, "label": (B,) long}``; a label of -1 means unlabelled.
    Labels of other tasks than classification are (B, K) floats, a row of NaN where unlabelled.

    A label that is blank, NA, nan, None, null or -1 is none, which is said with their number.

    A fifth of the rows, the same whatever the seed, is for testing; with labels each class in its proportion. What is
    predicted is every row, in the table's order.

    Args:
        source: Name of a table that comes with scikit-learn, "iris", "wine", "breast_cancer" or "diabetes" (a
            regression); or path of a file: .csv or .tsv, .parquet, .npy (N, D), or .npz with ``x`` (N, D) and maybe
            ``y`` (N,).
        label: Column that holds classes, by name or by number from 0, or several columns; "" is none. The bundled
            ones and .npz have their own.
        task: Task of the labels: "classification"; "multilabel", a column of 0 and 1 for each class; "regression",
            numbers.
        drop: Columns to leave out, by name or number.
        columns: Names of the columns in the order in which a module was trained on them: the table's are put in it, and
            must be the same ones; their label may be absent. None takes the table's order.
        header: Whether the first line of a .csv or .tsv has the columns' names; "auto" decides, and says what it
            decided where that is not plain.
        encoding: Encoding of a .csv or .tsv; "" is UTF-8, or UTF-16 where a mark at the beginning says so.
        standardise: Whether to subtract each column's mean and divide by its standard deviation, both of the training
            rows; a column without variance becomes 0.
        scale: {"mean": [...], "std": [...]} of the columns to standardise by, those of the table that a module was
            trained on, say; None takes this table's own. With "columns" among them it says ``columns``, too: what
            ``normalisation`` of one table gives another.
        batch_size: Rows in a batch on each rank, B.
        labels_per_class: Training labels that are kept of each class, the others forgotten; None keeps all.
        label_seed: Seed of the choice of labels.
        labelled_only: Whether to train on the labelled rows alone.
        few_labels: Number of labels up to which a module that learns from them gets them all to train on: none is set
            aside for validation or testing; 0 divides always.
        val_fraction: Share of the training rows set aside for validation.
        seed: Seed of shuffling and of the choice of validation rows.

    Raises:
        ValueError: an argument out of its range, or a table that cannot be used; names row and column.
        FileNotFoundError: there is no such file.
    """

    renamed: ClassVar = {"kind": "task"}

    def __init__(
        self,
        source: str = "iris",
        label: str | list[str] = "",
        task: Task = "classification",
        drop: Sequence[str] = (),
        columns: list[str] | None = None,
        header: Header = "auto",
        encoding: str = "",
        standardise: bool = True,
        scale: dict[str, Any] | None = None,
        batch_size: int = 32,
        labels_per_class: int | None = None,
        label_seed: int = 0,
        labelled_only: bool = False,
        few_labels: int = FEW_LABELS,
        val_fraction: float = 0.1,
        seed: int = 0,
    ) -> None:
        super().__init__()
        at_least(0, few_labels=few_labels)
        check_encoding(encoding)
        check_options(batch_size, val_fraction, labels_per_class, labelled_only)
        if source in BUNDLED and label:
            raise ValueError(f"{source} has its own labels: leave `data.label` out")
        own: Task = "regression" if source == "diabetes" else "classification"
        if source in BUNDLED and task not in ("classification", own):
            raise ValueError(f"{source} is a {own}: leave `data.task` out; got {task!r}")
        self.task: Task = own if source in BUNDLED else task
        if labels_per_class is not None and self.task != "classification":
            raise ValueError(f"`data.labels_per_class` is for classes; these labels are of a {self.task}")
        if scale is not None and not (standardise and {*scale} - {"columns"} == {"mean", "std"}):
            raise ValueError(
                "`data.scale` is {mean: [...], std: [...]} to standardise by, and needs `data.standardise`"
            )
        self.source, self.label, self.drop = source, label, list(drop)
        self.known, self.header, self.encoding = columns or column_names(scale) or [], header, encoding
        self.standardise, self.scale = standardise, scale
        self.batch_size, self.val_fraction, self.seed = batch_size, val_fraction, seed
        self.labels_per_class, self.label_seed, self.labelled_only = labels_per_class, label_seed, labelled_only
        self.few_labels = few_labels

    @cached_property
    def table(self) -> Table:
        """The table as the file holds it."""
        labels = [self.label] if isinstance(self.label, str) and self.label else list(self.label)
        choice = Choice(labels, self.drop, self.task, self.known, self.header, self.encoding)
        return read_table(self.source, choice)

    @cached_property
    def splits(self) -> Splits:
        """Standardised rows and their labels, in three splits."""
        self._check_enough()
        rows, labels = self.table.rows, self.table.labels
        strata = labels if labels is not None and labels.ndim == 1 else torch.zeros(len(rows), dtype=torch.long)
        rest, test = stratified_split(strata, _TEST, seed=0)
        train, val = (rest[chosen] for chosen in stratified_split(strata[rest], self.val_fraction, self.seed))
        mean, std = self._given(self.scale) if self.scale else self._own_scale(rows[train])
        indices = {"train": train, "val": val, "test": test}
        if self.all_labels_train and labels is not None:  # the scale stays, which the module was told
            indices = {"train": for_training(labels, self.trainer)}
        scaled = {name: ((rows[index] - mean) / std).float() for name, index in indices.items()}
        known = {} if labels is None else {name: labels[index] for name, index in indices.items()}
        return Splits(*self._with_budget(scaled, known), mean, std)

    def setup(self, stage: str | None = None) -> None:
        self._check_order()  # an error in a loader's hook would leave Lightning's patch of ``DataLoader`` behind
        if stage == "fit" and not self._is_fold():
            few = learns_from_labels(self.trainer) and are_few(self.table.labels, self.few_labels)
            if few != self.all_labels_train:
                self.all_labels_train = few
                self.__dict__.pop("splits", None)
        if stage != "predict":
            tell_few(self, self.table.labels, stage)

    def _is_fold(self) -> bool:
        return isinstance(self.__dict__.get("splits"), Fold)  # few rows, which are only predicted, have no splits

    def labels_of(self, split: str) -> Tensor | None:
        """Labels of a split's rows, (N,) long or (N, K), in their order; None where there are none."""
        return self.splits.labels.get(split)

    def fold(self, train: Tensor, held_out: Tensor) -> Any:
        """These data with some of the training rows to train on and others to predict, see ``SplitDataModule``."""
        parts, other = {"train": train, "predict": held_out}, copy.copy(self)
        rows, labels = (
            {name: values["train"][chosen] for name, chosen in parts.items()} if values else {}
            for values in self.splits[:2]
        )
        other.__dict__["splits"] = Fold(rows, labels, self.splits.mean, self.splits.std)
        return other

    def without_labels(self) -> Any:
        """These data, whose training rows have no labels."""
        other = copy.copy(self)
        other.__dict__["splits"] = Fold({**self.splits.rows}, {}, self.splits.mean, self.splits.std)
        return other

    def digests(self, split: str) -> list[bytes]:
        """A digest of each of a split's rows, see ``SplitDataModule``."""
        return [hashlib.blake2b(row, digest_size=16).digest() for row in self.splits.rows[split].numpy()]

    def _check_enough(self) -> None:
        table = self.table
        if (count := len(table.rows)) < _FEWEST:
            raise ValueError(f"{self.source} has {count} rows: training, validation and test need {_FEWEST} or more")
        if table.labels is None or self.known:  # a module that knows the columns knows the classes
            return
        if not is_labelled(table.labels).any():
            raise ValueError(f"{self.source}: every label is missing; leave `data.label` out")
        if len(table.classes) < 2 and self.task == "classification":
            raise ValueError(f"{self.source} has a single class, {table.classes[0]!r}: leave `data.label` out")

    def _given(self, scale: dict[str, Any]) -> tuple[Tensor, Tensor]:
        mean, std = (torch.tensor(scale[name], dtype=torch.float64) for name in ("mean", "std"))
        if not len(mean) == len(std) == len(self.columns):
            raise ValueError(f"{self.source} has {len(self.columns)} columns, and `data.scale` is of {len(mean)}")
        return mean, std

    def _own_scale(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        mean, std = column_scale(rows, self.columns, self.source)
        if self.standardise:
            return mean, std
        tell_rounded(rows, self.columns, self.source)
        return torch.zeros_like(mean), torch.ones_like(std)

    @cached_property
    def everything(self) -> Tensor:
        """Every row as the splits' are, (N, D) float32, in the table's order."""
        if not self.standardise:
            return self.table.rows.float()
        mean, std = self._given(self.scale) if self.scale else self.splits[2:]
        return ((self.table.rows - mean) / std).float()

    def _with_budget(
        self, rows: dict[str, Tensor], labels: dict[str, Tensor]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        if self.labels_per_class is None:
            return rows, labels
        if not labels:
            raise ValueError(
                f"`data.labels_per_class` needs labels, and {self.source} has none: say which column, `data.label`"
            )
        kept = subsample_labels(labels["train"], self.labels_per_class, self.label_seed)
        if not self.labelled_only:
            return rows, {**labels, "train": kept}
        chosen = kept >= 0
        return {**rows, "train": rows["train"][chosen]}, {**labels, "train": kept[chosen]}

    @property
    def columns(self) -> list[str]:
        """Names of the D columns."""
        return self.table.columns

    @property
    def input_shape(self) -> tuple[int]:
        """Shape of a row, (D,)."""
        return (len(self.columns),)

    @property
    def num_classes(self) -> int | None:
        """Number of classes or, of a regression, of values; None without labels."""
        return len(self.table.classes) or None

    @property
    def num_labelled(self) -> int:
        """Number of training rows with a label."""
        return count_labelled(self.splits.labels.get("train"))

    @property
    def class_names(self) -> list[str]:
        """Names of the classes in the order of their numbers."""
        return self.table.classes

    @property
    def normalisation(self) -> dict[str, Any] | None:
        """Mean and standard deviation that each column was standardised by, and the columns' names where the file has
        them; None where there is neither."""
        names = {"columns": self.columns} if self.table.named else {}
        if not self.standardise:
            return names or None
        return self.scale or {"mean": self.splits.mean.tolist(), "std": self.splits.std.tolist(), **names}

    @property
    def fingerprint(self) -> str:
        """Digest of all rows and labels as they are used."""
        digest = hashlib.sha256()
        enough = len(self.table.rows) >= _FEWEST  # fewer are only predicted
        for held in (self.splits.rows, self.splits.labels) if enough else ({"predict": self.everything},):
            for name, values in sorted(held.items()):
                digest.update(f"{name} {tuple(values.shape)}".encode() + values.numpy().tobytes())
        return digest.hexdigest()[:16]

    @property
    def augmentation_signature(self) -> dict[str, Any]:
        """What decides the training inputs, as ``ImageData.augmentation_signature``; rows come in one form only."""
        rows = self.splits.rows["train"]
        digest = hashlib.sha256(f"{tuple(rows.shape)}".encode() + rows.numpy().tobytes()).hexdigest()[:16]
        return {"samples": len(rows), "augmentation_period": 1, "data": {"rows": digest}, "augmentation": {}}

    def state_dict(self) -> dict[str, Any]:
        """Names of the columns of labels and of those left out, for a checkpoint: other tables have them too."""
        if not self.table.named or self.source in BUNDLED:
            return {}
        return {"label": list(self.table.label_columns), "drop": [n for n in self.drop if not n.isdigit()]}

    def _check_order(self) -> None:
        """Refuse to serve a module that knows the columns in another order.

        Raises:
            ValueError: it does.
        """
        module = self.trainer and self.trainer.lightning_module
        known = column_names(getattr(module, "hparams", {}).get("normalisation"))
        if known and self.table.named and known != self.columns:
            raise ValueError(
                f"the module was trained on columns {', '.join(known)}, {self.source} has {', '.join(self.columns)}: "
                "give the data the module's (scale=module.hparams.normalisation), and they are matched by name"
            )

    def _loader(self, split: str, shuffle: bool = False) -> TensorLoader | list[Any]:
        if split in ("val", "test") and split not in self.splits.rows:
            return []
        if split == "predict" and not self._is_fold():
            rows, labels = self.everything, self.table.labels
        else:
            rows, labels = self.splits.rows[split], self.splits.labels.get(split)
        tensors = {INPUT: rows} if labels is None else {INPUT: rows, LABEL: labels}
        if self.trainer:
            tensors = {key: t.to(self.trainer.strategy.root_device) for key, t in tensors.items()}
        sampler = ShardedSampler(rows, *self._rank_and_world_size(), shuffle, self.seed)
        return TensorLoader(tensors, self.batch_size, sampler)

    def on_after_batch_transfer(self, batch: dict[str, Any], dataloader_idx: int) -> dict[str, Any]:
        """The batch without the seed of an augmentation, which rows have not."""
        return {key: value for key, value in batch.items() if key != SEED}

    @property
    def parts(self) -> Splits:
        """The old name of ``splits``, for one release."""
        return self.splits


Tabular = Vectors

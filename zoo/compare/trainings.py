"""How a cell is made: a pretraining, a fine-tuning, or a linear model on fixed features."""

import json
import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import lightning.pytorch as pl
import torch
from torch import Tensor

from zoo.compare.cells import PCA, PIXELS, UNTRAINED, Cell, Folder, Stage, pack_bits
from zoo.compare.plan import Plan
from zoo.core.batch import INPUT, LABEL
from zoo.core.imports import load
from zoo.core.options import accepted_arguments
from zoo.functional.features import feature_spread, knn_correct, principal_components, rank_me, raw_pixels
from zoo.functional.finetune import is_labelled
from zoo.functional.normalisation import left_to_encoder
from zoo.functional.probe import fit_logistic
from zoo.io.backbone import resolve_backbone
from zoo.io.encoder import load_encoder, save_encoder
from zoo.modules.finetune import FinetuneModule
from zoo.networks.encoder import Encoder
from zoo.registry import DATA_TO_MODEL_ARGS

QUIET = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
MOST_VALIDATED = 5000  # validation samples by which is chosen
_COMPONENTS = 64  # principal components of the raw inputs
_COLLAPSED = 0.05  # spread of features below which they have, unless the technique says that it cannot
_PCA_SAMPLES = 10_000  # training samples of which they are found


class Work(NamedTuple):
    """What all cells of a comparison share, in one process: it is read once."""

    plan: Plan
    folder: Folder
    data: Any  # the datamodule, set up

    def make(self, cell: Cell, stage: Stage) -> None:
        """Make a cell, unless it is there.

        Raises:
            Exception: whatever the training raised.
        """
        if self.folder.read(cell) is not None:
            return
        start = time.perf_counter()
        result = pretrain(self, cell) if cell.mode == "pretrain" else learn(self, cell, stage)
        self.folder.write(cell, {**result, "seconds": round(time.perf_counter() - start, 3)})


def build(cls: Any, options: Mapping[str, Any], data: Any) -> Any:
    """A module with its options and what it takes from the data."""
    accepted = accepted_arguments(cls)
    told = {name: getattr(data, name) for name in DATA_TO_MODEL_ARGS if name in accepted and hasattr(data, name)}
    return cls(**{**told, **options})


def trainer_for(plan: Plan, **limits: Any) -> pl.Trainer:
    """A silent trainer on one device that neither validates nor saves."""
    return pl.Trainer(devices=1, precision=plan.precision, limit_val_batches=0, **QUIET, **limits)  # type: ignore[arg-type]


def pretrain(work: Work, cell: Cell) -> dict[str, Any]:
    """Train a technique without labels, and keep its encoder."""
    entry = work.plan.technique(cell.source)
    pl.seed_everything(cell.seed, verbose=False)
    data = work.data.without_labels()
    data.seed = cell.seed
    module = build(load(entry.path), entry.options, data)
    limits = {"max_epochs": entry.epochs} if entry.epochs else {"max_steps": entry.steps, "max_epochs": -1}
    trainer = trainer_for(work.plan, **limits)
    start = time.perf_counter()
    trainer.fit(module, data)
    seconds = time.perf_counter() - start
    encoder = module.encoder.cpu().eval()
    features = encoded(encoder, work.data, "val", 1000)[0]
    save_encoder(encoder, work.folder.encoder(cell.source, cell.seed))
    measures = {"spread": feature_spread(features), "rank_me": rank_me(features), "dimension": features.shape[1]}
    measures["collapsed"] = measures["spread"] < _COLLAPSED and getattr(module, "may_collapse", True)
    return {"steps": trainer.global_step, "training_seconds": round(seconds, 3), **measures}


def learn(work: Work, cell: Cell, stage: Stage) -> dict[str, Any]:
    """Learn from few labels, and say which samples of a stage were right."""
    pl.seed_everything(cell.seed, verbose=False)
    if cell.mode in ("probe", "knn"):
        right = linear(work, cell, stage)
        return {"steps": 0, "stage": stage, "samples": len(right), "right": pack_bits(right)}
    module, steps = tune(work, cell)
    outputs, truth = encoded(module.classify, work.data, stage)
    right = outputs.argmax(1) == truth
    return {"steps": steps, "stage": stage, "samples": len(right), "right": pack_bits(right)}


def tune(work: Work, cell: Cell, **limits: Any) -> tuple[FinetuneModule, int]:
    """A fine-tuned module, and its steps; ``limits`` are the trainer's, in place of the plan's steps."""
    plan, tuning = work.plan, work.plan.tuning
    data = work.data.with_labels(cell.labels, cell.seed)
    for name, value in {"seed": cell.seed, "batch_size": tuning["batch_size"], **tuning["augmentation"]}.items():
        setattr(data, name, value)
    encoder = encoder_of(work, cell)
    pl.seed_everything(cell.seed, verbose=False)  # the head and the order are the seed's, whatever the encoder is
    module = FinetuneModule(
        data.input_shape,
        data.num_classes,
        class_names=list(data.class_names),
        backbone=encoder,
        mode="lp_ft" if cell.mode == "lp_ft" else "full",
        lr=cell.rate,
        normalisation=data.normalisation,
    )
    steps = tuning["steps"] + (plan.longer if cell.mode == "longer" else 0)
    trainer = trainer_for(plan, **{"max_steps": steps, "max_epochs": -1, **limits})
    trainer.fit(module, data)
    return module.eval(), trainer.global_step


def encoder_of(work: Work, cell: Cell) -> Any:
    """What a cell begins with: the encoder of a technique, or an untrained network of the cell's seed."""
    if cell.source == UNTRAINED:
        pl.seed_everything(cell.seed, verbose=False)
        shape, normalisation = work.data.input_shape, work.data.normalisation
        return Encoder(json.loads(cell.network), shape, None, normalisation)
    entry = work.plan.technique(cell.source)
    if entry.weights:
        return resolve_backbone(entry.weights, work.data.input_shape, work.data.normalisation)
    return load_encoder(work.folder.encoder(cell.source, work.plan.pretraining(entry, cell.seed).seed))


def linear(work: Work, cell: Cell, stage: Stage) -> Tensor:
    """Which samples of a stage a logistic regression on fixed features has right, or neighbours, (N,) bool."""
    data = work.data.with_labels(cell.labels, cell.seed)
    encode: Any = raw_pixels
    if cell.source not in (PIXELS, PCA):
        encode = _features_of(resolve_backbone(encoder_of(work, cell), data.input_shape, data.normalisation), data)
    train, labels = encoded(encode, data, "train")
    test, truth = encoded(encode, work.data, stage)
    if cell.source == PCA:
        mean, components = _components(work)
        train, test = ((x - mean) @ components for x in (train, test))
    if cell.mode == "knn":
        return knn_correct(train, labels, test, truth)
    penalty = work.plan.tuning["probe_l2"] / len(labels)
    weight, bias = fit_logistic(train, labels, work.data.num_classes, l2=penalty)
    return torch.nn.functional.linear(test, weight, bias).argmax(1) == truth


def _features_of(encoder: Encoder, data: Any) -> Any:
    """The encoder as a function of the data's inputs, which it normalises where it must, as fine-tuning does."""
    encoder.eval()
    if left_to_encoder(data.normalisation, encoder.normalisation):
        return lambda x: encoder(encoder.preprocess(x))
    return encoder


def _components(work: Work) -> tuple[Tensor, Tensor]:
    """Mean and principal components of the raw training inputs, without their labels."""
    inputs, _ = encoded(raw_pixels, work.data, "train", _PCA_SAMPLES)
    return principal_components(inputs, _COMPONENTS)


def batches(data: Any, split: str, most: int | None = None) -> Iterator[dict[str, Tensor]]:
    """Batches of a split as they are evaluated, not augmented: in the samples' order or, where there are more than
    ``most``, in one drawn by the data's seed, since neighbours are often of one class."""
    loader, count = data._loader(split), 0
    if most is not None and len(loader.sampler) > most:
        loader = data._loader(split, shuffle=True)
    for batch in loader:
        yield data.on_after_batch_transfer(dict(batch), 0)
        count += len(batch[INPUT])
        if most is not None and count >= most:
            return


@torch.no_grad()
def encoded(encode: Any, data: Any, split: str, most: int | None = None) -> tuple[Tensor, Tensor]:
    """Features (N, D) float32 of the samples of a split, and their labels (N,); those of validation are limited.

    Samples without a label are left out where there are any with one.
    """
    most = most or (MOST_VALIDATED if split == "val" else None)
    features, labels = [], []
    for batch in batches(data, split, most):
        features.append(encode(batch[INPUT]).flatten(1).float())
        labels.append(batch.get(LABEL, torch.full((len(batch[INPUT]),), -1)))
    x, y = torch.cat(features)[:most], torch.cat(labels)[:most]
    known = is_labelled(y)
    return (x[known], y[known]) if known.any() else (x, y)

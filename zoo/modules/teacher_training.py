"""Training of a teacher, or of its last layer alone, before its student learns from it."""

import logging

import torch
from torch import nn

from zoo.core.batch import LABEL, require
from zoo.core.distributed import gather_rows, training_batches
from zoo.core.nested_fit import fit_nested
from zoo.core.run_dir import run_dir
from zoo.distillation.teacher import Classifier, Teacher
from zoo.functional.normalisation import left_to_encoder
from zoo.modules.baseline import build_seeded
from zoo.modules.finetune import FinetuneModule
from zoo.modules.supervised import SupervisedModule

log = logging.getLogger(__name__)


def prepare(teacher: Teacher, module: SupervisedModule) -> None:
    """Train an untrained teacher, and fit last layers for those without one, on the training data of ``module``.

    A teacher that was trained is kept as ``teacher.ckpt`` in the run's folder, and named in the hyperparameters, so
    that a resumed run finds it.

    Raises:
        ValueError: there are no labels.
    """
    if teacher.untrained:
        teacher.members[0] = train_teacher(module)
        teacher.untrained = False
    for member in teacher.to(module.device).classifiers:
        if member.head is None:
            fit_head(member, module)
    teacher.to(module.device).requires_grad_(False).eval()


def train_teacher(module: SupervisedModule) -> Classifier:
    """The network that the student's hyperparameters name as its teacher, trained on the student's data."""
    hp = module.hparams
    source, epochs = hp.teacher["sources"][0], hp.teacher_epochs
    name = source["name"] if isinstance(source, dict) else source
    log.warning("no trained teacher is named (`teacher` FILE): a network %r is trained first, %d epochs", name, epochs)
    labels = {"num_classes": hp.num_classes, "class_names": hp.class_names, "task": hp.task}
    options = {"weights": hp.teacher_weights, "mode": "full", "normalisation": hp.normalisation}
    other = build_seeded(module, FinetuneModule, input_shape=hp.input_shape, **labels, backbone=source, **options)
    trainer = module.trainer
    keeps_files = trainer.loggers and not trainer.fast_dev_run  # type: ignore[attr-defined]
    path = run_dir(trainer) / "teacher.ckpt" if keeps_files else None
    fit_nested(module.trainer, other, epochs, save_to=path)
    if path is not None:
        hp["teacher"] = {**hp.teacher, "sources": [str(path)], "weights": None}
    scale = (other.target_mean, other.target_std) if other.task.scaled else None
    preprocess = left_to_encoder(hp.normalisation, other.encoder.normalisation)
    return Classifier(other.encoder, other.head, preprocess, scale)  # type: ignore[arg-type]


@torch.no_grad()
def fit_head(member: Classifier, module: SupervisedModule) -> None:
    """Fit a head to the labelled training samples for a classifier that has none.

    Raises:
        ValueError: there are none.
    """
    hp, features, labels = module.hparams, [], []
    for batch in training_batches(module.trainer, module.input_key):
        labels.append(module.to_head_labels(require(batch, LABEL, module)))
        features.append(member.encode(require(batch, module.input_key, module)).float())
    world_size = module.trainer.world_size
    truth = gather_rows(torch.cat(labels), world_size, equal=True)
    labelled = module.task.labelled(truth)
    if not labelled.any():
        raise ValueError("the teacher has no last layer, and no training sample has a label to fit it to")
    x, truth = gather_rows(torch.cat(features), world_size, equal=True)[labelled], truth[labelled]
    fitted = module.task.probe(x, truth, hp.probe_l2 / len(truth))
    if fitted is None:
        raise ValueError(f"the teacher has no last layer, and none can be fitted for a {hp.task}: name a checkpoint")
    weight, bias = fitted
    member.head = nn.Linear(member.features, len(bias)).to(weight.device)
    member.head.load_state_dict({"weight": weight, "bias": bias})

"""What distillation does beside the student's training: a teacher trained or completed first, the same student from
labels alone, and how all three compare."""

import copy
import inspect
import logging
import statistics
import time
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from zoo.core.batch import INPUT, LABEL, require
from zoo.core.nested_fit import fit_nested
from zoo.distillation.teacher import Classifier, Teacher
from zoo.functional.finetune import is_labelled
from zoo.functional.probe import fit_logistic, fit_ridge
from zoo.modules.finetune import FinetuneModule

log = logging.getLogger(__name__)


def prepare(teacher: Teacher, module: FinetuneModule) -> None:
    """Train a teacher that is untrained, and fit last layers to those without, on the training data of ``module``.

    A teacher that was trained is kept as ``teacher.ckpt`` in the run's folder, and named in the hyperparameters, so
    that a resumed run finds it.

    Raises:
        ValueError: there are no labels.
    """
    if teacher.untrained:
        teacher.members[0] = _trained(module)
        teacher.untrained = False
    for member in teacher.to(module.device).classifiers:
        if member.head is None:
            _fit_head(member, module)
    teacher.to(module.device).requires_grad_(False).eval()


def _trained(module: FinetuneModule) -> Classifier:
    hp = module.hparams
    source, epochs = hp.teacher["sources"][0], hp.teacher_epochs
    name = source["name"] if isinstance(source, dict) else source
    log.warning(
        "no trained teacher is named (--model.teacher FILE): a network %r learns first, %d epochs", name, epochs
    )
    options = {"weights": hp.teacher_weights, "mode": "full", "normalisation": hp.normalisation}
    other = _seeded(module, hp.input_shape, hp.num_classes, hp.class_names, hp.task, source, **options)
    folder = module.trainer.log_dir if module.trainer.logger else None
    keep = Path(folder) / "teacher.ckpt" if folder else None
    fit_nested(module.trainer, other, epochs, keep=keep)
    if keep is not None:
        hp["teacher"] = {**hp.teacher, "sources": [str(keep)], "weights": None}
    scale = (other.target_mean, other.target_std) if hp.task == "regression" else None
    prepare_input = hp.normalisation is None and other.encoder.normalisation is not None
    return Classifier(other.encoder, other.head, prepare_input, scale)


def _seeded(module: FinetuneModule, *arguments: Any, **options: Any) -> FinetuneModule:
    """Another module, whose weights follow from the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(module._seed)
        other = FinetuneModule(*arguments, **options)
    other.origin = other.origin or "scratch"  # on purpose: nothing to warn of
    return other


@torch.no_grad()
def _fit_head(member: Classifier, module: FinetuneModule) -> None:
    """A last layer from the labels there are."""
    hp, features, labels = module.hparams, [], []
    for batch in module._training_batches():
        labels.append(module.known_labels(require(batch, LABEL, module)))
        features.append(member.encode(require(batch, INPUT, module)).float())
    truth = module._of_all_ranks(torch.cat(labels))
    chosen = is_labelled(truth)
    if not chosen.any():
        raise ValueError("the teacher has no last layer, and not one training sample a label to fit it to")
    x, truth = module._of_all_ranks(torch.cat(features))[chosen], truth[chosen]
    if hp.task == "regression":
        weight, bias = fit_ridge(x, truth, hp.probe_l2 / len(truth))
    else:
        weight, bias = fit_logistic(x, truth, hp.num_classes, hp.probe_l2 / len(truth))
    member.head = nn.Linear(member.features, len(bias)).to(weight.device)
    member.head.load_state_dict({"weight": weight, "bias": bias})


def train_alone(module: FinetuneModule, beginning: dict[str, Tensor]) -> FinetuneModule:
    """The same network from the same start, trained for as many steps on the same batches, of their labels alone.

    Args:
        module: the student, at its training's end.
        beginning: the state of its encoder when it began.
    """
    names = inspect.signature(FinetuneModule.__init__).parameters
    other = _seeded(module, **{name: module.hparams[name] for name in names if name in module.hparams})
    other.encoder.load_state_dict(beginning)
    fit_nested(module.trainer, other, None, module.trainer.global_step)
    other.blend()
    return other


class Row(NamedTuple):
    """A network beside others: its score, parameters, bytes on a disk, and milliseconds for one sample on the CPU."""

    name: str
    score: float
    parameters: int
    size: int
    latency: float


@torch.no_grad()
def measured(name: str, score: float, network: nn.Module, input_shape: Any, rounds: int = 30) -> Row:
    """A network's row; the latency is the median of some rounds.

    Args:
        name, score: as they are.
        network: of which a copy is measured.
        input_shape: of one sample.
        rounds: after three that warm up.
    """
    own = copy.deepcopy(network).cpu().float().eval()
    x, seconds = torch.zeros(1, *input_shape), []
    for _ in range(rounds + 3):
        begin = time.perf_counter()
        own(x)
        seconds.append(time.perf_counter() - begin)
    size = sum(value.nbytes for value in own.state_dict().values())
    return Row(name, score, sum(p.numel() for p in own.parameters()), size, 1000 * statistics.median(seconds[3:]))

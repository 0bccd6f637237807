"""Networks to learn from: read from files or trained first, checked against the data, frozen."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from zoo.core.checkpoint import checkpoint_in, head_config, read_checkpoint
from zoo.functional.normalisation import left_to_encoder
from zoo.io.backbone import check_input, resolve_backbone, without_head
from zoo.io.encoder import load_encoder, load_state_dict_strict, submodule_state_dict
from zoo.networks.encoder import Encoder
from zoo.networks.layers import layer_outputs, layer_shapes
from zoo.tasks.base import index_of_names


class LabelSpace(NamedTuple):
    """Meaning of a classifier's outputs; ``names`` may be empty."""

    task: str
    classes: int
    names: list[str]


class Classifier(nn.Module):
    """An encoder with a linear head: (B, *input_shape) to features (B, D) and logits (B, C), or values.

    Args:
        encoder: Encoder, of any kind.
        head: Linear layer on its features; None until one is fitted.
        preprocess: Whether inputs come in [0, 1] and get the encoder's normalisation here.
        scale: Mean and standard deviation of a regression's values, (C,) each.
    """

    def __init__(
        self,
        encoder: Encoder,
        head: nn.Linear | None = None,
        preprocess: bool = False,
        scale: tuple[Tensor, Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.encoder, self.head, self.preprocess = encoder, head, preprocess
        mean, std = scale or (torch.zeros(()), torch.ones(()))
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)
        self.features = encoder.output_dim or encoder.feature_dim

    def encode(self, x: Tensor) -> Tensor:
        """Inputs (B, *input_shape) to features (B, D)."""
        return self.encoder(self.encoder.preprocess(x) if self.preprocess else x)

    def head_output(self, features: Tensor) -> Tensor:
        """Features (B, D) to logits (B, C), or values in the target's units."""
        assert self.head is not None
        return self.head(features) * self.std + self.mean

    def select_classes(self, indices: Sequence[int]) -> None:
        """Keep these outputs of the head, in this order."""
        assert self.head is not None
        head, index = nn.Linear(self.features, len(indices)), torch.tensor(indices)
        head.load_state_dict({name: value[index] for name, value in self.head.state_dict().items()})
        self.head = head


class Teacher(nn.Module):
    """One classifier or several, in eval mode and without gradients.

    ``forward`` gives {name: tensor}: ``features`` (B, D), concatenated; ``logits`` (B, C), the mean over the
    classifiers (of probabilities that is their geometric mean, Hinton et al. 2015); and layers of the encoder of a
    single one.

    Args:
        members: Classifiers of the ensemble.
        labels: Label space of their logits; None where neither data nor teachers have labels.
        untrained: Whether they still have to be trained.
    """

    def __init__(
        self, members: Sequence[Classifier], labels: LabelSpace | None = None, untrained: bool = False
    ) -> None:
        super().__init__()
        self.members, self.labels, self.untrained = nn.ModuleList(members), labels, untrained
        self.requires_grad_(False).eval()

    @property
    def classifiers(self) -> list[Classifier]:
        """The members, typed."""
        return list(self.members)  # type: ignore[arg-type]

    @property
    def features(self) -> int:
        """Length of all members' features together, D."""
        return sum(member.features for member in self.classifiers)

    def shapes(self, layers: Sequence[str]) -> dict[str, list[int]]:
        """Shapes of layers' outputs for one sample.

        Raises:
            ValueError: no such layer, or several classifiers.
        """
        if layers and len(self.members) > 1:
            raise ValueError("layers are compared with those of one teacher; these are several")
        encoder = self.classifiers[0].encoder
        return {k: list(v) for k, v in layer_shapes(encoder, encoder.input_shape, layers, "teacher").items()}

    @torch.no_grad()
    def forward(self, x: Tensor, layers: Sequence[str] = ()) -> dict[str, Tensor]:
        first, *others = self.classifiers
        with layer_outputs(first.encoder, layers, "teacher") as found:
            features = [first.encode(x)]
        features += [member.encode(x) for member in others]
        outputs = {"features": torch.cat(features, 1), **found}
        if first.head is not None:
            logits = [member.head_output(f) for member, f in zip(self.classifiers, features, strict=True)]
            outputs["logits"] = torch.stack(logits).mean(0)
        return outputs

    def fingerprint(self) -> str:
        """A digest of networks and weights."""
        digest = hashlib.sha256()
        for member in self.classifiers:
            digest.update(repr((member.encoder.spec, member.encoder.normalisation, member.preprocess)).encode())
        for name, value in self.state_dict().items():
            digest.update(name.encode() + value.detach().float().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]


def read_teacher(
    sources: Sequence[Any],
    input_shape: Sequence[int],
    normalisation: dict[str, Any] | None,
    weights: str = "default",
    labels: LabelSpace | None = None,
) -> Teacher:
    """A teacher from one source or several.

    Args:
        sources: Sources, each as for ``read_classifier``.
        input_shape: Shape of one sample of the data.
        normalisation: Normalisation of the data.
        weights: Weights of torchvision's and timm's networks.
        labels: Label space of the data, if they have labels.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: one cannot be read, or is for other inputs or labels; one of several is untrained.
    """
    members = []
    for source in sources:
        classifier, theirs, trained = read_classifier(source, input_shape, normalisation, weights)
        if not trained and len(sources) > 1:
            raise ValueError(f"several teachers must be trained ones; {source!r} is a network without weights")
        if theirs is not None:
            labels = labels or theirs
            align_labels(classifier, theirs, labels)
        members.append(classifier)
    if not trained:
        classifier.head = nn.Linear(classifier.features, labels.classes if labels else 1)
    return Teacher(members, labels, not trained)


def read_classifier(
    source: Any, input_shape: Sequence[int], normalisation: dict[str, Any] | None, weights: str = "default"
) -> tuple[Classifier, LabelSpace | None, bool]:
    """One of a teacher's classifiers.

    Args:
        source: Checkpoint with an encoder and a linear head (of fine-tuning or distillation); otherwise a source for
            ``resolve_backbone``, which has no head yet.
        input_shape: Shape of one sample of the data.
        normalisation: Normalisation of the data.
        weights: Weights of torchvision's and timm's networks.

    Returns:
        The classifier, its label space (None without a head), and whether it is trained.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it cannot be read, or expects other inputs than the data's.
    """
    shape = tuple(input_shape)
    source = str(checkpoint_in(source)) if isinstance(source, str) and Path(source).is_dir() else source
    if isinstance(source, str) and source.endswith(".ckpt") and not Path(source).is_file():
        raise FileNotFoundError(f"no teacher at {source}")
    if not (isinstance(source, str) and Path(source).is_file()):
        encoder = resolve_backbone(source, shape, normalisation, True, weights, "teacher")
        return Classifier(encoder, None, _needs_preprocessing(encoder, normalisation)), None, bool(encoder.origin)
    encoder, checkpoint = load_encoder(source), read_checkpoint(source)
    check_input(encoder, shape, normalisation, "teacher")
    preprocess = _needs_preprocessing(encoder, normalisation)
    head, labels, scale = read_head(checkpoint, source)
    if head is None:
        return Classifier(without_head(encoder), None, preprocess), None, True
    return Classifier(encoder, head, preprocess, scale), labels, True


def read_head(
    checkpoint: Mapping[str, Any], origin: str
) -> tuple[nn.Linear | None, LabelSpace | None, tuple[Tensor, Tensor] | None]:
    """A checkpoint's linear head, its label space, and a regression's mean and standard deviation; None without one."""
    config, state = head_config(dict(checkpoint)), submodule_state_dict(dict(checkpoint), "head")
    if config is None or "weight" not in state:
        return None, None, None
    outputs, features = state["weight"].shape
    head = nn.Linear(features, outputs)
    load_state_dict_strict(head, state, origin)
    values = checkpoint["state_dict"]
    scaled = config.get("scaled", config["task"] == "regression")
    scale = (values["target_mean"], values["target_std"]) if scaled else None
    return head, LabelSpace(config["task"], outputs, list(config["class_names"])), scale


def _needs_preprocessing(encoder: Encoder, normalisation: dict[str, Any] | None) -> bool:
    """Whether inputs come in [0, 1] to an encoder that needs them normalised."""
    return left_to_encoder(normalisation, encoder.normalisation)


def align_labels(classifier: Classifier, theirs: LabelSpace, ours: LabelSpace) -> None:
    """Reorder a classifier's outputs to the data's classes.

    Raises:
        ValueError: another task, or classes that it lacks.
    """
    if theirs.task != ours.task:
        raise ValueError(f"the teacher's task is {theirs.task}, the data's is {ours.task}")
    if theirs.names and ours.names:
        indices = index_of_names(ours.names, theirs.names, "teacher")
        if theirs.names != ours.names:
            classifier.select_classes(indices)
    elif theirs.classes != ours.classes:
        raise ValueError(f"the teacher has {theirs.classes} classes, the data have {ours.classes}")

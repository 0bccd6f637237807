"""Networks to learn from: read from files or trained first, checked against the data, frozen."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from zoo.core.checkpoint import read_checkpoint
from zoo.io.backbone import check_input, load_backbone, without_head
from zoo.io.encoder import load_encoder, load_state_dict_strict, submodule_state_dict
from zoo.networks.encoder import Encoder
from zoo.networks.layers import layer_outputs, layer_shapes


class Labels(NamedTuple):
    """What a classifier's outputs mean; ``names`` may be empty."""

    task: str
    classes: int
    names: list[str]


class Classifier(nn.Module):
    """An encoder with a linear head: (B, *input_shape) to features (B, D) and logits (B, C), or values.

    Args:
        encoder: of any kind.
        head: of its features; None until one is fitted.
        prepare: whether inputs come as they are and get the encoder's normalisation here.
        scale: (mean, std) of a regression's values, (C,) each.
    """

    def __init__(
        self,
        encoder: Encoder,
        head: nn.Linear | None = None,
        prepare: bool = False,
        scale: tuple[Tensor, Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.encoder, self.head, self.prepare = encoder, head, prepare
        mean, std = scale or (torch.zeros(()), torch.ones(()))
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)
        self.features = encoder.output_dim or encoder.feature_dim

    def encode(self, x: Tensor) -> Tensor:
        """Inputs to features (B, D)."""
        return self.encoder(self.encoder.preprocess(x) if self.prepare else x)

    def answer(self, features: Tensor) -> Tensor:
        """Features to logits (B, C), or values in the target's units."""
        assert self.head is not None
        return self.head(features) * self.std + self.mean

    def choose(self, places: Sequence[int]) -> None:
        """Keep these outputs of the head, in this order."""
        assert self.head is not None
        head, index = nn.Linear(self.features, len(places)), torch.tensor(places)
        head.load_state_dict({name: value[index] for name, value in self.head.state_dict().items()})
        self.head = head


class Teacher(nn.Module):
    """One classifier or several, in eval mode and without gradients.

    ``forward`` gives {name: tensor}: ``features`` (B, D), side by side; ``logits`` (B, C), the mean over the
    classifiers (of probabilities that is their geometric mean, Hinton et al. 2015); and layers of the encoder of a
    single one.

    Args:
        members: the classifiers.
        labels: what their logits mean, or will; None where neither data nor teachers know any.
        untrained: whether they still have to be trained.
    """

    def __init__(self, members: Sequence[Classifier], labels: Labels | None = None, untrained: bool = False) -> None:
        super().__init__()
        self.members, self.labels, self.untrained = nn.ModuleList(members), labels, untrained
        self.requires_grad_(False).eval()

    @property
    def classifiers(self) -> list[Classifier]:
        """The members."""
        return list(self.members)  # type: ignore[arg-type]

    @property
    def features(self) -> int:
        """D."""
        return sum(member.features for member in self.classifiers)

    def shapes(self, layers: Sequence[str]) -> dict[str, list[int]]:
        """Of layers' outputs, of one sample.

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
            answers = [member.answer(f) for member, f in zip(self.classifiers, features, strict=True)]
            outputs["logits"] = torch.stack(answers).mean(0)
        return outputs

    def fingerprint(self) -> str:
        """Of networks and weights."""
        digest = hashlib.sha256()
        for member in self.classifiers:
            digest.update(repr((member.encoder.spec, member.encoder.normalisation, member.prepare)).encode())
        for name, value in self.state_dict().items():
            digest.update(name.encode() + value.detach().float().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]


def read_teacher(
    sources: Sequence[Any],
    input_shape: Sequence[int],
    normalisation: dict[str, Any] | None,
    weights: str = "default",
    labels: Labels | None = None,
) -> Teacher:
    """One network or several to learn from.

    Args:
        sources, input_shape, normalisation, weights: see ``read_classifier``.
        labels: the data's, if they have any.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: one cannot be read, or is for other inputs or labels; several, and one of them is not trained.
    """
    members = []
    for source in sources:
        classifier, theirs, trained = read_classifier(source, input_shape, normalisation, weights)
        if not trained and len(sources) > 1:
            raise ValueError(f"several teachers must be trained ones; {source!r} is a network without weights")
        if theirs is not None:
            labels = labels or theirs
            fit_labels(classifier, theirs, labels)
        members.append(classifier)
    if not trained:
        classifier.head = nn.Linear(classifier.features, labels.classes if labels else 1)
    return Teacher(members, labels, not trained)


def read_classifier(
    source: Any, input_shape: Sequence[int], normalisation: dict[str, Any] | None, weights: str = "default"
) -> tuple[Classifier, Labels | None, bool]:
    """A network to learn from.

    Args:
        source: a checkpoint with an encoder and a linear head (of fine-tuning or distillation); otherwise what
            ``load_backbone`` takes, which has no head yet.
        input_shape, normalisation: of the data.
        weights: of torchvision's and timm's networks.

    Returns:
        The classifier, what its outputs mean (None without a head), and whether it is trained.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it cannot be read, or expects other inputs than the data's.
    """
    shape = tuple(input_shape)
    if isinstance(source, str) and source.endswith(".ckpt") and not Path(source).is_file():
        raise FileNotFoundError(f"no teacher at {source}")
    if not (isinstance(source, str) and Path(source).is_file()):
        encoder, origin = load_backbone(source, shape, normalisation, True, weights, "teacher")
        return Classifier(encoder, None, _prepares(encoder, normalisation)), None, bool(origin)
    encoder, checkpoint = load_encoder(source), read_checkpoint(source)
    check_input(encoder, shape, normalisation, "teacher")
    said, state = checkpoint.get("hyper_parameters", {}), submodule_state_dict(checkpoint, "head")
    if "task" not in said or "weight" not in state:
        return Classifier(without_head(encoder), None, _prepares(encoder, normalisation)), None, True
    outputs, features = state["weight"].shape
    head = nn.Linear(features, outputs)
    load_state_dict_strict(head, state, source)
    values = checkpoint["state_dict"]
    scale = (values["target_mean"], values["target_std"]) if said["task"] == "regression" else None
    labels = Labels(said["task"], head.out_features, list(said["class_names"]))
    return Classifier(encoder, head, _prepares(encoder, normalisation), scale), labels, True


def _prepares(encoder: Encoder, normalisation: dict[str, Any] | None) -> bool:
    """Whether inputs come as they are to an encoder that needs more."""
    return normalisation is None and encoder.normalisation is not None


def fit_labels(classifier: Classifier, theirs: Labels, ours: Labels) -> None:
    """Bring a classifier's outputs into the order of the data's classes.

    Raises:
        ValueError: another task, or classes that it does not know.
    """
    if theirs.task != ours.task:
        raise ValueError(f"the teacher is of a {theirs.task}, the data are for a {ours.task}")
    if theirs.names and ours.names:
        if unknown := [name for name in ours.names if name not in theirs.names]:
            raise ValueError(
                f"the data have classes that the teacher does not know: {', '.join(unknown[:5])}; it knows "
                f"{', '.join(theirs.names[:20])}"
            )
        if theirs.names != ours.names:
            classifier.choose([theirs.names.index(name) for name in ours.names])
    elif theirs.classes != ours.classes:
        raise ValueError(f"the teacher knows {theirs.classes} classes, the data have {ours.classes}")

"""Trained feature extractors as files that are checked when read, and which extractor is for which images."""

import hashlib
import logging
import os
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from callbacks.samples.feature_extractor import (
    ConvFeatureExtractor,
    InceptionFeatureExtractor,
    checksum,
    train_extractor,
    untrained_extractor,
)
from zoo.core.atomic import atomic_write

log = logging.getLogger(__name__)

FeatureExtractor = ConvFeatureExtractor | InceptionFeatureExtractor
_FORMAT = "1"  # of the file, and of how the network is made and trained
_TRAIN_ON = 20_000  # labelled images: more would not be seen in the time
_INCEPTION = "inception_v3_google-0cc3c7bd.pth"  # torchvision's name for it


def extractor_from_option(features: str) -> FeatureExtractor | None:
    """The feature extractor that an option names by itself; None for "auto", which needs to see the images.

    Args:
        features: Value of the option: "auto"; "inception", where torchvision has put its weights; or a path: of those
            weights, or of a ``.safetensors`` that ``save_extractor`` wrote.

    Raises:
        ValueError: no such file, or one of another kind.
    """
    if features == "auto":
        return None
    path = Path(features).expanduser()
    if features == "inception":
        home = os.environ.get("TORCH_HOME") or _cache_home() / "torch"
        path = Path(home) / "hub" / "checkpoints" / _INCEPTION
    if not path.is_file():
        raise ValueError(
            f"no weights at {path}: `generation.features` is 'auto', 'inception', or the path of an extractor's weights"
        )
    return load_extractor(path) if path.suffix == ".safetensors" else InceptionFeatureExtractor(path)


def default_extractor(
    images: Tensor, labels: Tensor, fingerprint: str | None, cache: str | Path | None
) -> ConvFeatureExtractor:
    """A feature extractor for these images: read if there is one for the same data, else trained and kept.

    Args:
        images: Images (N, C, H, W) uint8, no side longer than 32.
        labels: Classes (N,) long, -1 for unlabelled; without two classes the network is not trained.
        fingerprint: Digest of the data that the images are of; by default one of the images themselves.
        cache: Path of a folder; by default ``pretraining-zoo`` in the user's folder for such.

    A damaged file is told and written anew.
    """
    known = labels >= 0
    if not known.any() or labels[known].min() == labels[known].max():
        return untrained_extractor(images)
    images, labels = images[known][:_TRAIN_ON], labels[known][:_TRAIN_ON]
    parts = [images.cpu().numpy().tobytes(), labels.cpu().numpy().tobytes()] if fingerprint is None else []
    content = hashlib.sha256(b"".join([str((_FORMAT, fingerprint, tuple(images.shape[1:]))).encode(), *parts]))
    folder = Path(cache or _cache_home() / "pretraining-zoo").expanduser()
    path = folder / f"scorer-{content.hexdigest()[:16]}.safetensors"
    if path.is_file():
        try:
            return load_extractor(path).to(images.device)
        except ValueError as error:
            log.warning("%s: it is trained anew", str(error).partition(". Delete it")[0])
    extractor = train_extractor(images, labels)
    try:
        save_extractor(extractor, path)
    except (OSError, SafetensorError) as error:
        log.warning("the feature extractor cannot be kept in %s (%s): the next run trains its own", folder, error)
    return extractor


def _cache_home() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()


def save_extractor(extractor: ConvFeatureExtractor, path: str | Path) -> None:
    """Write a trained feature extractor atomically, with the checksum of its weights."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in extractor.state_dict().items()}
    facts = {"format": _FORMAT, "shape": " ".join(map(str, extractor.shape)), "classes": str(extractor.classes)}
    facts |= {"about": extractor.about, "sha256": checksum(tensors)}
    atomic_write(path, lambda tmp_path: save_file(tensors, tmp_path, facts))


def load_extractor(path: str | Path) -> ConvFeatureExtractor:
    """Read what ``save_extractor`` wrote.

    Raises:
        ValueError: the file is damaged, or its weights are not those that its checksum was taken of.
    """
    try:
        with safe_open(path, "pt") as file:
            facts = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if facts.get("format") != _FORMAT:
            raise ValueError("it was written by another version, or is no feature extractor")
        if facts.get("sha256") != checksum(tensors):
            raise ValueError("its weights do not match their checksum")
        return extractor_from_state(
            tuple(map(int, facts["shape"].split())), int(facts["classes"]), facts.get("about", ""), tensors
        )
    except (OSError, SafetensorError, KeyError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"the feature extractor {path} cannot be used: {reason}. Delete it, and it is trained anew"
        ) from error


def extractor_from_state(
    shape: tuple[int, ...], classes: int, about: str, tensors: dict[str, Tensor]
) -> ConvFeatureExtractor:
    """A feature extractor from plain values and tensors, which files and other processes may have."""
    extractor = ConvFeatureExtractor(shape, classes)  # type: ignore[arg-type]
    extractor.load_state_dict(tensors)
    extractor.about = about
    return extractor.requires_grad_(False).eval()

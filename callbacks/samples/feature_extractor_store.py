"""Trained scorers as files that are checked when read, and which scorer looks at whose pictures."""

import hashlib
import logging
import os
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from callbacks.samples.feature_extractor import ConvScorer, InceptionScorer, checksum, train_scorer, untrained_scorer

log = logging.getLogger(__name__)

Scorer = ConvScorer | InceptionScorer
_FORMAT = "1"  # of the file, and of how the network is made and trained
_TRAIN_ON = 20_000  # labelled pictures: more would not be seen in the time
_INCEPTION = "inception_v3_google-0cc3c7bd.pth"  # torchvision's name for it


def given_scorer(features: str) -> Scorer | None:
    """The scorer that an option names by itself; None for "auto", which needs to see the pictures.

    Args:
        features: "auto"; "inception", where torchvision has put its weights; or a path: of those weights, or of a
            ``.safetensors`` that ``save_scorer`` wrote.

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
        raise ValueError(f"no weights at {path}: features is 'auto', 'inception', or the path of a scorer's weights")
    return load_scorer(path) if path.suffix == ".safetensors" else InceptionScorer(path)


def own_scorer(pictures: Tensor, labels: Tensor, fingerprint: str | None, cache: str | Path | None) -> ConvScorer:
    """A scorer for these pictures: read if there is one for the same data, else trained and kept.

    Args:
        pictures: (N, C, H, W) uint8, no side longer than 32.
        labels: (N,) long, -1 for unlabelled; without two classes the network is not trained.
        fingerprint: of the data that the pictures are of; by default one of the pictures themselves.
        cache: a folder; by default ``pretraining-zoo`` in the user's folder for such.

    Raises:
        ValueError: the file is there and damaged.
    """
    known = labels >= 0
    if not known.any() or labels[known].min() == labels[known].max():
        return untrained_scorer(pictures)
    pictures, labels = pictures[known][:_TRAIN_ON], labels[known][:_TRAIN_ON]
    parts = [pictures.cpu().numpy().tobytes(), labels.cpu().numpy().tobytes()] if fingerprint is None else []
    content = hashlib.sha256(b"".join([str((_FORMAT, fingerprint, tuple(pictures.shape[1:]))).encode(), *parts]))
    folder = Path(cache or _cache_home() / "pretraining-zoo").expanduser()
    path = folder / f"scorer-{content.hexdigest()[:16]}.safetensors"
    if path.is_file():
        return load_scorer(path).to(pictures.device)
    scorer = train_scorer(pictures, labels)
    try:
        save_scorer(scorer, path)
    except (OSError, SafetensorError) as error:
        log.warning("the scorer cannot be kept in %s (%s): the next run trains its own", folder, error)
    return scorer


def _cache_home() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()


def save_scorer(scorer: ConvScorer, path: str | Path) -> None:
    """Write a trained scorer, whole or not at all, with the checksum of its weights."""
    path = Path(path)
    tensors = {name: value.detach().cpu().contiguous() for name, value in scorer.state_dict().items()}
    facts = {"format": _FORMAT, "shape": " ".join(map(str, scorer.shape)), "classes": str(scorer.classes)}
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        save_file(tensors, beside, {**facts, "about": scorer.about, "sha256": checksum(tensors)})
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def load_scorer(path: str | Path) -> ConvScorer:
    """Read what ``save_scorer`` wrote.

    Raises:
        ValueError: the file is damaged, or its weights are not those that its checksum was taken of.
    """
    try:
        with safe_open(path, "pt") as file:
            facts = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if facts.get("format") != _FORMAT:
            raise ValueError("it was written by another version, or is no scorer")
        if facts.get("sha256") != checksum(tensors):
            raise ValueError("its weights do not match their checksum")
        return restored(tuple(map(int, facts["shape"].split())), int(facts["classes"]), facts.get("about", ""), tensors)
    except (OSError, SafetensorError, KeyError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"the scorer {path} cannot be used: {reason}. Delete it, and it is trained anew") from error


def restored(shape: tuple[int, ...], classes: int, about: str, tensors: dict[str, Tensor]) -> ConvScorer:
    """A scorer from what it is made of: plain values and tensors, which files and other processes may have."""
    scorer = ConvScorer(shape, classes)  # type: ignore[arg-type]
    scorer.load_state_dict(tensors)
    scorer.about = about
    return scorer.requires_grad_(False).eval()

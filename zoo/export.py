"""What was learned as files that anything can read: an encoder as ``encoder.safetensors`` and ``encoder.json``, word
vectors in the formats of word2vec and gensim, or as ``vectors.safetensors`` and ``vocabulary.json``."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from zoo.checkpoint import read_checkpoint
from zoo.files import write_whole
from zoo.functional.finetune import interpolate
from zoo.networks.encoder import Encoder
from zoo.networks.low_rank import merged

_FORMAT = 1


def save_encoder(encoder: Encoder, directory: str | Path, provenance: dict[str, Any] | None = None) -> Path:
    """Write an encoder's weights and all that is needed to use them again.

    Args:
        encoder: built from a spec.
        directory: is made if need be.
        provenance: plain values: where the weights come from.

    Returns:
        The directory.

    Raises:
        ValueError: the encoder was made from an ``nn.Module`` and has no spec that could be written down.
    """
    description = {"format": _FORMAT, **encoder.describe(), "provenance": provenance or {}}
    state = merged(encoder.state_dict())
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    directory = Path(directory)
    write_whole(directory / "encoder.safetensors", lambda path: save_file(tensors, path))
    write_whole(
        directory / "encoder.json", lambda path: Path(path).write_text(json.dumps(description, indent=2) + "\n")
    )
    return directory


def load_encoder(path: str | Path) -> Encoder:
    """Read what ``save_encoder`` wrote, or the encoder within any module's checkpoint; in eval mode, on the CPU.

    Args:
        path: a folder with ``encoder.json`` and ``encoder.safetensors``, or a checkpoint file.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file is damaged, holds no encoder, or has weights that do not fit its network.
    """
    description, weights = (_from_folder if Path(path).is_dir() else _from_checkpoint)(Path(path))
    try:
        if description.get("format", _FORMAT) != _FORMAT:
            raise ValueError(f"format {description['format']} is not known here")
        encoder = Encoder.from_description(description)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"the encoder in {path} cannot be read: {str(error).splitlines()[0]}") from error
    fill(encoder, weights, str(path))
    return encoder.eval()


def _from_folder(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    files = [folder / f"encoder.{end}" for end in ("json", "safetensors")]
    for file in files:
        if not file.is_file():
            raise FileNotFoundError(f"no encoder in {folder}: {file.name} is missing")
    try:
        return dict(json.loads(files[0].read_text())), load_file(files[1])
    except (ValueError, TypeError, SafetensorError) as error:
        raise ValueError(f"the encoder in {folder} cannot be read: {str(error).splitlines()[0]}") from error


def _from_checkpoint(file: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    if not file.exists():
        raise FileNotFoundError(f"no encoder at {file}: there is neither such a folder nor such a checkpoint")
    checkpoint = read_checkpoint(file)
    description = checkpoint.get("zoo", {}).get("encoder")
    if description is None:
        raise ValueError(f"{file} holds no encoder: its module has none, or has one made from an nn.Module")
    return description, merged(part_of(checkpoint, "encoder"))


def part_of(checkpoint: dict[str, Any], name: str) -> dict[str, Tensor]:
    """Weights of one of a module's parts, as it would use them: where it keeps those it began with, for WiSE-FT, what
    lies between the two."""
    state, share = checkpoint["state_dict"], checkpoint.get("hyper_parameters", {}).get("wise_ft", 1.0)
    trained, start = (
        {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
        for prefix in (f"{name}.", f"start.{name}.")
    )
    return interpolate(start, trained, share) if share < 1 and start else trained


def fill(network: nn.Module, weights: dict[str, Tensor], origin: str) -> None:
    """Load weights, all of them and no others.

    Args:
        network: what they are for.
        weights: by name.
        origin: what the message calls them.

    Raises:
        ValueError: names are missing or left over, or shapes differ: the first few, and the likely cause.
    """
    own = network.state_dict()
    wrong = {
        "missing": [name for name in own if name not in weights],
        "unexpected": [name for name in weights if name not in own],
        "of another shape": [
            f"{name} {tuple(weights[name].shape)} for {tuple(value.shape)}"
            for name, value in own.items()
            if name in weights and weights[name].shape != value.shape
        ],
    }
    if not any(wrong.values()):
        network.load_state_dict(weights)
        return
    found = "; ".join(
        f"{len(names)} {kind}: {', '.join(names[:3])}{' ...' if len(names) > 3 else ''}"
        for kind, names in wrong.items()
        if names
    )
    cause = "they are of another network" if wrong["missing"] else "the network has other sizes or fewer layers"
    raise ValueError(
        f"the weights in {origin} do not fit the network ({found}): {cause}, or were made by other options"
    )


def save_vectors(keyed: Any, path: str | Path) -> Path:
    """Write gensim's ``KeyedVectors``.

    Args:
        keyed: the vectors.
        path: ``.txt`` and ``.bin`` are word2vec's text and binary format, ``.kv`` gensim's own; anything else is a
            folder for ``vectors.safetensors``, float32 (V, D), and ``vocabulary.json``, words and their counts.

    Returns:
        The path.
    """
    path = Path(path)
    if path.suffix in (".txt", ".bin"):
        write_whole(path, lambda beside: keyed.save_word2vec_format(beside, binary=path.suffix == ".bin"))
    elif path.suffix == ".kv":
        write_whole(path, lambda beside: keyed.save(beside, sep_limit=2**62))  # one file, whatever its size
    else:
        counts = {word: int(keyed.get_vecattr(word, "count")) for word in keyed.index_to_key}
        vectors = torch.from_numpy(keyed.vectors).contiguous()
        write_whole(path / "vectors.safetensors", lambda beside: save_file({"vectors": vectors}, beside))
        text = json.dumps(counts, ensure_ascii=False, indent=0)
        write_whole(path / "vocabulary.json", lambda beside: Path(beside).write_text(text, encoding="utf-8"))
    return path


def load_vectors(directory: str | Path) -> tuple[Tensor, dict[str, int]]:
    """Read the folder that ``save_vectors`` wrote: (V, D), and the words in that order with their counts.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file is damaged, or there are other numbers of words than of vectors.
    """
    words_file, vectors_file = Path(directory) / "vocabulary.json", Path(directory) / "vectors.safetensors"
    for file in (words_file, vectors_file):
        if not file.is_file():
            raise FileNotFoundError(f"no word vectors in {directory}: {file.name} is missing")
    try:
        vocabulary = json.loads(words_file.read_text(encoding="utf-8"))
        vectors = load_file(vectors_file)["vectors"]
    except (ValueError, KeyError, SafetensorError) as error:
        raise ValueError(f"the vectors in {directory} cannot be read: {str(error).splitlines()[0]}") from error
    if len(vocabulary) != len(vectors):
        raise ValueError(f"{directory} has {len(vectors):,} vectors for {len(vocabulary):,} words")
    return vectors, vocabulary

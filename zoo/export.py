"""What was learned as files that anything can read: an encoder as ``encoder.safetensors`` and ``encoder.json``, word
vectors in the formats of word2vec and gensim, or as ``vectors.safetensors`` and ``vocabulary.json``."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from zoo.files import write_whole
from zoo.networks.encoder import Encoder

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
    if encoder.spec is None:
        raise ValueError("this encoder was made from an nn.Module; only one made from a spec can be exported")
    description = {
        "format": _FORMAT,
        "network": encoder.spec,
        "input_shape": encoder.input_shape,
        "output_dim": encoder.output_dim,
        "normalisation": encoder.normalisation,
        "activation": encoder.activation,
        "provenance": provenance or {},
    }
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in encoder.state_dict().items()}
    directory = Path(directory)
    write_whole(directory / "encoder.safetensors", lambda path: save_file(tensors, path))
    write_whole(
        directory / "encoder.json", lambda path: Path(path).write_text(json.dumps(description, indent=2) + "\n")
    )
    return directory


def load_encoder(directory: str | Path) -> Encoder:
    """Read what ``save_encoder`` wrote; in eval mode, on the CPU.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file is damaged, or its weights do not fit its network.
    """
    description_file, weights_file = (Path(directory) / f"encoder.{end}" for end in ("json", "safetensors"))
    for file in (description_file, weights_file):
        if not file.is_file():
            raise FileNotFoundError(f"no encoder in {directory}: {file.name} is missing")
    try:
        description = json.loads(description_file.read_text())
        if description["format"] != _FORMAT:
            raise ValueError(f"format {description['format']} is not known here")
        encoder = Encoder(
            description["network"],
            description["input_shape"],
            description["output_dim"],
            description["normalisation"],
            description.get("activation"),
        )
        encoder.load_state_dict(load_file(weights_file))
    except (ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise ValueError(f"the encoder in {directory} cannot be read: {str(error).splitlines()[0]}") from error
    return encoder.eval()


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

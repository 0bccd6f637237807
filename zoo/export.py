"""An encoder as two files that anything can read: ``encoder.safetensors`` and ``encoder.json``."""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

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

"""Networks as files of other tools: ONNX, and the weights' own layout in torchvision and timm."""

import json
import warnings
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from zoo.checkpoint import read_checkpoint
from zoo.export import fill, load_encoder, part_of, save_encoder
from zoo.files import write_whole
from zoo.networks.encoder import Encoder
from zoo.networks.low_rank import merged
from zoo.networks.others import LibraryTrunk
from zoo.registry import FORMATS

_TOLERANCE = 1e-4


class Exported(nn.Module):
    """What is exported: pictures as they come, through the encoder, to features or logits.

    Args:
        encoder: is copied, with changes of low rank merged.
        head: a last layer, or None.
        preprocess: do to inputs in [0, 1] what the encoder was trained on.
    """

    def __init__(self, encoder: Encoder, head: nn.Linear | None, preprocess: bool) -> None:
        super().__init__()
        self.encoder = Encoder.from_description(encoder.describe())
        fill(self.encoder, merged(encoder.state_dict()), "the encoder")
        self.head = head or nn.Identity()
        self.preprocess = preprocess
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(self.encoder.preprocess(x) if self.preprocess else x))


def save_onnx(
    encoder: Encoder,
    path: str | Path,
    head: nn.Linear | None = None,
    preprocess: bool = True,
    class_names: list[str] | None = None,
) -> Path:
    """Write an ONNX file: "input" (B, *input_shape) to "output", features (B, D) or with a head logits (B, C).

    Where onnxruntime is installed its outputs are compared with PyTorch's, and the file is written only if they agree
    to 1e-4 of the largest.

    Args:
        encoder: built from a spec.
        path: of the file.
        head: a linear layer on the features.
        preprocess: the file normalises its inputs, which are then in [0, 1].
        class_names: are kept in the file as ``class_names``, in JSON.

    Raises:
        ValueError: a package is missing, the encoder has no spec, or onnxruntime's outputs differ.
    """
    try:
        import onnx
    except ImportError as error:
        raise ValueError(f"{error.name} is not installed: pip install 'pretraining-zoo[onnx]'") from error
    network = Exported(encoder, head, preprocess)
    x = torch.rand(3, *encoder.input_shape)

    def write(beside: str) -> None:
        _trace(network, x, beside)
        if class_names:
            model = onnx.load(beside)
            onnx.helper.set_model_props(model, {"class_names": json.dumps(class_names)})
            onnx.save(model, beside)
        _compare(network, beside, x)

    write_whole(path, write)
    return Path(path)


def _trace(network: nn.Module, x: Tensor, path: str) -> None:
    """Not by the newer exporter: this one works in every PyTorch from 2.6 on, and takes a fifth of the time."""
    batch = {0: "batch"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what is taken for a constant: whether it is one, the comparison tells
        try:
            torch.onnx.export(
                network,
                (x,),
                path,
                dynamo=False,
                opset_version=17,
                input_names=["input"],
                output_names=["output"],
                dynamic_axes={"input": batch, "output": batch},
            )
        except RuntimeError as error:
            raise ValueError(f"the network cannot be written as ONNX: {str(error).splitlines()[0]}") from error


@torch.no_grad()
def _compare(network: nn.Module, file: str, x: Tensor) -> None:
    try:
        import onnxruntime
    except ImportError:
        return
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    for batch in (x, x[:1]):
        (found,) = session.run(None, {session.get_inputs()[0].name: batch.numpy()})
        expected = network(batch)
        difference = (torch.from_numpy(found) - expected).abs().max() / expected.abs().max().clamp_min(1)
        if not difference <= _TOLERANCE:
            raise ValueError(f"onnxruntime's outputs differ from PyTorch's by {difference:.2g} of the largest")


def save_state(encoder: Encoder, path: str | Path, head: nn.Linear | None = None) -> Path:
    """Write weights under the names that torchvision or timm gives them, for its own ``load_state_dict``.

    A .safetensors file has the encoder's normalisation in its metadata, as JSON. Where pictures are grey, the library's
    network takes them repeated in three channels.

    Args:
        encoder: whose network is theirs.
        path: a .safetensors file, or a .pth file.
        head: is written as the library's last layer; without one the encoder's own linear head is, if it has one.

    Raises:
        ValueError: the network is not theirs, the ending is another, or the library has no place for the head.
    """
    trunk, path = encoder.trunk, Path(path)
    if not isinstance(trunk, LibraryTrunk):
        raise ValueError(f"{encoder.spec!r} is no network of torchvision or timm: its weights have no layout there")
    if path.suffix not in (".safetensors", ".pth", ".pt"):
        raise ValueError(f"weights are written as .safetensors or .pth; got {path.name}")
    state = merged(trunk.model.state_dict())
    last = _only_layer(encoder, head)
    if last is not None:
        layer = merged(last.state_dict())
        state |= {f"{trunk.classifier}.{name}": value for name, value in layer.items()}
        fill(trunk.whole(len(layer["weight"])), state, "the network and its head")
    tensors = {name: value.detach().cpu().contiguous() for name, value in state.items()}
    if path.suffix == ".safetensors":
        metadata = {"format": "pt", "normalisation": json.dumps(encoder.normalisation)}
        write_whole(path, lambda beside: save_file(tensors, beside, metadata))
    else:
        write_whole(path, lambda beside: torch.save(tensors, beside))
    return path


def _only_layer(encoder: Encoder, head: nn.Linear | None) -> nn.Module | None:
    """What comes after the trunk: one linear layer or nothing, since the libraries have no place for more."""
    if isinstance(encoder.head, nn.Identity):
        return head
    if head is not None or not isinstance(encoder.head, nn.Linear):
        raise ValueError("torchvision and timm have a place for one linear layer after the features; here is more")
    return encoder.head


def export(source: str, form: str, out: str | None = None) -> Path:
    """What the command ``export`` does: the encoder in a folder or checkpoint, with a checkpoint's linear head if there
    is one, in another format.

    Args:
        source: a folder that ``save_encoder`` wrote, or any module's checkpoint.
        form: "encoder", "onnx" or "state".
        out: where to; None is a name of its own beside the source.

    Raises:
        FileNotFoundError, ValueError: as ``load_encoder`` and the writing functions.
    """
    encoder = load_encoder(source)
    beside = Path(source) if Path(source).is_dir() else Path(source).parent
    path = Path(out) if out else beside / FORMATS[form]
    if form == "encoder":
        return save_encoder(encoder, path, {"exported_from": source})
    head, names = _head(source, encoder)
    return save_onnx(encoder, path, head, class_names=names) if form == "onnx" else save_state(encoder, path, head)


def _head(source: str, encoder: Encoder) -> tuple[nn.Linear | None, list[str]]:
    """A checkpoint's linear layer on the encoder's features, in the target's units, and its classes' names."""
    if Path(source).is_dir():
        return None, []
    checkpoint: dict[str, Any] = read_checkpoint(source)
    found = part_of(checkpoint, "head")
    weight, bias = found.get("weight"), found.get("bias")
    if weight is None or bias is None or weight.shape[1] != (encoder.output_dim or encoder.feature_dim):
        return None, []
    std, mean = (checkpoint["state_dict"].get(f"target_{name}") for name in ("std", "mean"))
    if std is not None and mean is not None:  # of a regression, whose head gives deviations; else 1 and 0
        weight, bias = weight * std.unsqueeze(1), bias * std + mean
    head = nn.Linear(weight.shape[1], len(weight))
    head.load_state_dict({"weight": weight, "bias": bias})
    return head, list(checkpoint.get("hyper_parameters", {}).get("class_names") or [])

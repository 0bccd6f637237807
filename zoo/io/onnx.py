"""Encoders and classifiers as ONNX files, compared with PyTorch before they are kept."""

import json
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from zoo.core.atomic import atomic_write
from zoo.io.encoder import load_state_dict_strict
from zoo.networks.encoder import Encoder
from zoo.networks.low_rank import merged

_TOLERANCE = 1e-4
_ACTIVATIONS = {"classification": "softmax", "multilabel": "sigmoid"}


class Exported(nn.Module):
    """The exported network: inputs through preprocessing and encoder to features or logits.

    Args:
        encoder: Encoder, which is copied, with low-rank updates merged.
        head: Last layer, or None.
        preprocess: Whether inputs are in [0, 1] and get the encoder's normalisation.
    """

    def __init__(self, encoder: Encoder, head: nn.Linear | None, preprocess: bool) -> None:
        super().__init__()
        self.encoder = Encoder.from_config(encoder.get_config())
        load_state_dict_strict(self.encoder, merged(encoder.state_dict()), "the encoder")
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
    task: str = "",
) -> Path:
    """Write an ONNX file: "input" (B, *input_shape) to "output", features (B, D) or with a head logits (B, C).

    Where onnxruntime is installed its outputs are compared with PyTorch's, and the file is written only if they agree
    to 1e-4 of the largest. What a program needs to know to feed it images is in the file's metadata, as JSON: see
    ``describe``.

    Args:
        encoder: Encoder that was built from a spec.
        path: Path of the file.
        head: Linear layer on the features.
        preprocess: Whether the network in the file normalises its inputs, which are then in [0, 1].
        class_names: Names of the classes, kept in the file's metadata.
        task: Task of the head, "classification", "multilabel", "regression" or another's import path.

    Raises:
        ValueError: a package is missing, the encoder has no spec, or onnxruntime's outputs differ.
    """
    try:
        import onnx
    except ImportError as error:
        raise ValueError(f"{error.name} is not installed: pip install 'pretraining-zoo[onnx]'") from error
    network = Exported(encoder, head, preprocess)
    x = torch.rand(3, *encoder.input_shape)

    def write(tmp_path: str) -> None:
        _trace(network, x, tmp_path)
        model = onnx.load(tmp_path)
        said = describe(encoder, preprocess, class_names, task)
        onnx.helper.set_model_props(model, {key: json.dumps(value) for key, value in said.items()})
        onnx.save(model, tmp_path)
        _compare(network, tmp_path, x)

    atomic_write(path, write)
    return Path(path)


def describe(
    encoder: Encoder, preprocess: bool = True, class_names: list[str] | None = None, task: str = ""
) -> dict[str, Any]:
    """What is to be known of an exported network: ``input_shape``, for images ``channels`` and ``size`` (H, W);
    ``value_range`` of the inputs; ``normalisation``, ``mean`` and ``std`` by which values in [0, 1] are normalised, and
    whether the file does so itself (``normalised_inside``) or is to be done before; ``class_names``; ``task``; and
    the ``activation`` that makes probabilities of the outputs.

    Args:
        encoder: Encoder in the file.
        preprocess: Whether the network in the file normalises its inputs.
        class_names: Names of the classes, in the order of the outputs.
        task: Task of the head; "" is none.
    """
    shape, scaling = list(encoder.input_shape), encoder.normalisation or {}
    found: dict[str, Any] = {"input_shape": shape, "normalisation": encoder.normalisation}
    if len(shape) == 3:
        found |= {"channels": shape[0], "size": shape[1:], "value_range": [0, 1]}
    found |= {name: scaling[name] for name in ("mean", "std") if name in scaling}
    found["normalised_inside"] = preprocess
    if task:
        found |= {"task": task, "activation": _ACTIVATIONS.get(task)}
    return found | ({"class_names": class_names} if class_names else {})


def _trace(network: nn.Module, x: Tensor, path: str) -> None:
    """Export by tracing: it works in every PyTorch from 2.6 on, and takes a fifth of the newer exporter's time."""
    batch = {0: "batch"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of values traced as constants: the comparison finds those that are not
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

"""The part of a network that is kept after pretraining."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from zoo.core.arguments import at_least, check_number
from zoo.functional.normalisation import normalise
from zoo.networks.precision import Averageable, cast_like
from zoo.networks.spec import TRUNKS, Spec, build

_ACTIVATIONS = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid}


def checked_shape(input_shape: Sequence[int] | None) -> tuple[int, ...]:
    """The shape of one sample; text has none.

    Raises:
        ValueError: there is none.
    """
    if input_shape is None:
        raise ValueError("these data have no input_shape, and the network needs one; for text there is skipgram")
    for size in input_shape:
        check_number("input_shape", size, whole=True)
        at_least(1, input_shape=size)
    if not input_shape:
        raise ValueError("input_shape must have one size or more; got none")
    return tuple(input_shape)


class Encoder(Averageable):
    """A trunk by spec and, if wanted, a linear head: (B, *input_shape) to (B, D), with the normalisation it expects.

    Args:
        spec: Spec of the trunk (see ``zoo.networks.spec``).
        input_shape: Shape of one sample.
        output_dim: Output dimension of the head, D; None leaves the trunk's features as they are.
        normalisation: Normalisation applied to inputs in [0, 1]: {"mean": per channel, "std": per channel}, or
            {"sample_offset": a} where each has its own mean subtracted and is divided by its standard deviation + a.
        activation: Activation after the head: "relu", "sigmoid" or none.

    Raises:
        ValueError: no input shape.
    """

    def __init__(
        self,
        spec: Spec | nn.Module,
        input_shape: Sequence[int],
        output_dim: int | None = None,
        normalisation: dict[str, Any] | None = None,
        activation: str | None = None,
    ) -> None:
        super().__init__()
        self.spec = spec if isinstance(spec, str | dict) else None
        self.origin = ""  # where trained weights are from; "" where they are untrained
        self.input_shape = checked_shape(input_shape)
        self.output_dim = output_dim
        self.normalisation = normalisation
        self.activation = activation
        self.trunk = build(spec, TRUNKS, input_shape=self.input_shape)
        self.feature_dim = getattr(self.trunk, "feature_dim", None) or self._measure()
        self.head: nn.Module = nn.Linear(self.feature_dim, output_dim) if output_dim else nn.Identity()
        if activation is not None:
            self.head = nn.Sequential(self.head, _ACTIVATIONS[activation]())

    def get_config(self) -> dict[str, Any]:
        """Plain values from which ``Encoder.from_config`` builds the same encoder, without its weights.

        Raises:
            ValueError: it was made from an ``nn.Module`` and has no spec that could be written down.
        """
        if self.spec is None:
            raise ValueError("this encoder was made from an nn.Module; only one made from a spec can be written down")
        return {
            "network": self.spec,
            "input_shape": list(self.input_shape),
            "output_dim": self.output_dim,
            "normalisation": self.normalisation,
            "activation": self.activation,
        }

    @classmethod
    def from_config(cls, description: Mapping[str, Any]) -> "Encoder":
        """An untrained encoder from the values of ``get_config``; further keys are ignored.

        Raises:
            KeyError: one is missing.
        """
        d = description
        return cls(d["network"], d["input_shape"], d["output_dim"], d["normalisation"], d.get("activation"))

    @torch.no_grad()
    def _measure(self) -> int:
        """Feature dimension F of a trunk that does not declare it."""
        training = self.trunk.training
        features = self.trunk.eval()(torch.zeros(1, *self.input_shape))
        self.trunk.train(training)
        if features.ndim != 2:
            raise ValueError(f"a trunk must map (B, *input_shape) to (B, F); this one gave {tuple(features.shape)}")
        return features.shape[1]

    @torch.no_grad()
    def takes(self, size: Sequence[int]) -> bool:
        """Whether the network takes images of another height and width, too, to as many features."""
        training, shape = self.training, (1, self.input_shape[0], *size)
        try:
            return self.eval().trunk(torch.zeros(shape)).shape[1:] == (self.feature_dim,)
        except (RuntimeError, ValueError):
            return False
        finally:
            self.train(training)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.trunk(self._cast(x)))

    def _cast(self, x: Tensor) -> Tensor:
        """Inputs in the weights' floating type, unless the trunk takes any (``any_dtype``)."""
        return x if getattr(self.trunk, "any_dtype", False) else cast_like(x, self)

    def forward_features(self, x: Tensor) -> Tensor:
        """Unpooled features of inputs (B, *input_shape), as in timm: tokens (B, T, D) or maps (B, C, H, W).

        Raises:
            ValueError: the network has none.
        """
        if not callable(getattr(self.trunk, "forward_features", None)):
            name = type(self.trunk).__name__ if self.spec is None else self.spec
            raise ValueError(f"network {name!r} has no unpooled features: take one that has maps or tokens, 'conv' say")
        return self.trunk.forward_features(self._cast(x))  # type: ignore[operator, no-any-return]

    def preprocess(self, x: Tensor) -> Tensor:
        """Images (B, C, H, W), uint8 or floats in [0, 1], or vectors (B, D), normalised as in training."""
        x = x.float() / 255 if x.dtype == torch.uint8 else x
        return normalise(x, self.normalisation)

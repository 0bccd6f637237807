"""Networks by spec: a name, or a mapping ``{"name": ..., plain keyword values}``; an ``nn.Module`` is taken as it is.
``NAME:ARCH`` is short for ``{"name": NAME, "arch": ARCH}``, as in ``torchvision:resnet18`` and ``timm:resnet18d``.

A trunk maps (B, *input_shape) to features (B, F); a decoder maps latents (B, D) to (B, *output_shape). A generator does
that, too, but its latents may have another shape, ``latent_shape``.
"""

import inspect
import logging
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from torch import nn

from zoo.core.arguments import WrongTypeError, at_least
from zoo.core.options import check_options
from zoo.core.suggest import did_you_mean
from zoo.networks.adversarial import (
    DCGANGenerator,
    DCGANTrunk,
    ImageGenerator,
    R3GANGenerator,
    R3GANTrunk,
    ResNetGenerator,
    ResNetTrunk,
)
from zoo.networks.cifar_resnet import CIFARResNet
from zoo.networks.conv import ConvDecoder, ConvTrunk
from zoo.networks.library import TimmTrunk, TorchvisionTrunk
from zoo.networks.mlp import MLPDecoder, MLPTrunk
from zoo.networks.projection import Projection
from zoo.networks.prototypes import Prototypes
from zoo.networks.vit import ViTTrunk

log = logging.getLogger(__name__)

Spec = str | dict[str, Any]

TRUNKS: dict[str, Callable[..., nn.Module]] = {
    "mlp": MLPTrunk,
    "conv": ConvTrunk,
    "vit": ViTTrunk,
    "cifar_resnet": CIFARResNet,
    "dcgan": DCGANTrunk,
    "gan_resnet": ResNetTrunk,
    "r3gan": R3GANTrunk,
    "torchvision": TorchvisionTrunk,
    "timm": TimmTrunk,
    "projection": Projection,
    "prototypes": Prototypes,
}
DECODERS: dict[str, Callable[..., nn.Module]] = {"mlp": MLPDecoder, "conv": ConvDecoder}
GENERATORS: dict[str, Callable[..., nn.Module]] = {
    "dcgan": DCGANGenerator,
    "gan_resnet": ResNetGenerator,
    "r3gan": R3GANGenerator,
    "image": ImageGenerator,
    "mlp": MLPDecoder,
}

RENAMED = {"free": "r3gan", "resnet": "gan_resnet"}  # for one release, and in older checkpoints


@lru_cache
def _tell_renamed(name: str) -> None:
    """The new name of a network, once a process."""
    log.warning("network %r is now called %r", name, RENAMED[name])


def parse_spec(spec: Spec) -> dict[str, Any]:
    """The long form of a spec."""
    if not isinstance(spec, str | Mapping):
        raise WrongTypeError(f"a network is a name or a mapping with `name`; got {spec!r}")
    if not isinstance(spec, str):
        return dict(spec)
    name, _, arch = spec.partition(":")
    return {"name": name, "arch": arch} if arch else {"name": name}


def build(spec: Spec | nn.Module, known: Mapping[str, Callable[..., nn.Module]], **given: Any) -> nn.Module:
    """Make the network that ``spec`` describes.

    Args:
        spec: A name in ``known``, a mapping with ``name`` and the network's own keywords, or a finished module.
        known: ``TRUNKS``, ``DECODERS`` or ``GENERATORS``.
        given: Further arguments that the caller supplies (shapes).

    Raises:
        ValueError: an unknown name (the nearest is proposed) or a keyword that the network does not have.
    """
    if isinstance(spec, nn.Module):
        return spec
    options = parse_spec(spec)
    name = str(options.pop("name", None))
    if name in RENAMED:
        _tell_renamed(name)
        name = RENAMED[name]
    if name not in known:
        raise ValueError(f"unknown network {name!r}{did_you_mean(name, known)}; there are: {', '.join(known)}")
    try:
        check_options(known[name], options)
        for option, value in options.items():
            least = 0 if inspect.signature(known[name]).parameters[option].default == 0 else 1
            for size in value if isinstance(value, list | tuple) else [value]:
                if isinstance(size, int | float) and not isinstance(size, bool):  # all of them are sizes or counts
                    at_least(least, **{option: size})
        return known[name](**given, **options)
    except (TypeError, ArithmeticError, LookupError, AttributeError, AssertionError, RuntimeError) as error:
        raise ValueError(f"network {name!r}: {str(error).splitlines()[0]}") from error

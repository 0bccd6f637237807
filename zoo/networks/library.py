"""Classifiers of torchvision and timm without their last layer, by name.

They are built untrained, so that checkpoints and exported encoders that hold such a network need no download; weights
of theirs are loaded by ``zoo.io.library_weights``. Within ``model`` parameters have the names that the library gives.
"""

import copy
import re
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from zoo.core.suggest import did_you_mean
from zoo.networks.connection import no_connection
from zoo.networks.layers import layer_outputs

_NO_LAST_LAYER = ("googlenet", "inception", "squeezenet")
_SECONDS = 10.0  # that a server may be silent
_NOT_PLAIN = ("mnasnet",)  # its weights carry a version, without which they are refused
# Names in torchvision's files that are older than those in its networks; it renames them while it loads.
_OLD_NAMES = {
    "densenet": [(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)", r"\1\2")],
    "vit": [(r"\.mlp\.linear_1\.", ".mlp.0."), (r"\.mlp\.linear_2\.", ".mlp.3.")],
}
_BEFORE_POOLING = ("layer4", "trunk_output", "features", "encoder")  # ResNets, RegNets, most others, ViTs


class LibraryTrunk(nn.Module):
    """(B, C, H, W) to features (B, F). Grey images are repeated in three channels.

    ``model`` is the library's network without its last layer, ``classifier`` that layer's name.
    """

    library = ""

    def __init__(self, input_shape: Sequence[int], arch: str) -> None:
        super().__init__()
        if len(input_shape) != 3 or input_shape[0] not in (1, 3):
            raise ValueError(f"{self.library}'s {arch} takes images of 1 or 3 channels; got {tuple(input_shape)}")
        self.arch = arch
        self.model, self.classifier = self.build(arch, (input_shape[1], input_shape[2]))
        self.feature_dim = self._measure(tuple(input_shape))

    def build(self, arch: str, size: tuple[int, int]) -> tuple[nn.Module, str]:
        """The network without its last layer (an identity), and that layer's name."""
        raise NotImplementedError

    def whole(self, num_classes: int) -> nn.Module:
        """The library's network with its last layer, untrained."""
        raise NotImplementedError

    def own_names(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """Weights of the library, old or new and with or without its last layer, under the names within ``model``.

        Files older than 2018 lack the counters of batch norms, which no prediction needs.
        """
        kept = {name: value for name, value in weights.items() if not name.startswith(f"{self.classifier}.")}
        counters = {n: v for n, v in self.model.state_dict().items() if n.endswith("num_batches_tracked")}
        return {**counters, **kept}

    def normalisation(self) -> dict[str, Any]:
        """Normalisation of their training images: {"mean": per channel, "std": per channel} of images in [0, 1]."""
        raise NotImplementedError

    def download(self) -> dict[str, Tensor]:
        """Their weights, by the library's names; its last layer's may be among them. They are kept.

        Raises:
            OSError: they have to be downloaded, and the server cannot be reached: told within seconds.
        """
        raise NotImplementedError

    @torch.no_grad()
    def _measure(self, shape: tuple[int, ...]) -> int:
        """Feature dimension F, from shapes alone: nothing is computed."""
        memo: dict[int, Any] = {id(p): nn.Parameter(p.to("meta")) for p in self.parameters()}
        memo |= {id(b): b.to("meta") for b in self.buffers()}
        shapes = copy.deepcopy(self, memo).eval()  # functional_call leaves shared parameters without values
        try:
            features = shapes(torch.empty(1, *shape, device="meta"))
        except (RuntimeError, AssertionError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise ValueError(f"{self.library}'s {self.arch} cannot take images of {shape}: {reason}") from error
        return features.shape[1]

    def forward(self, x: Tensor) -> Tensor:
        return self.model(_in_colour(x)).flatten(1)

    def forward_features(self, x: Tensor) -> Tensor:
        """Maps (B, C, H, W) or tokens (B, T, D), before they are pooled.

        Raises:
            ValueError: it is not known which layer gives them.
        """
        raise NotImplementedError


class TorchvisionTrunk(LibraryTrunk):
    """A classifier of ``torchvision.models``, up to its last linear layer.

    Args:
        input_shape: Shape of one image, (C, H, W), C 1 or 3.
        arch: Name of the network there.

    Raises:
        ValueError: an unknown name (the nearest is proposed), or images that it cannot take.
    """

    library = "torchvision"

    def build(self, arch: str, size: tuple[int, int]) -> tuple[nn.Module, str]:
        from torchvision import models

        _check_name(arch, models.list_models(module=models), self.library)
        if arch.startswith(_NO_LAST_LAYER):
            raise ValueError(f"torchvision's {arch} does not end in one linear layer: take another")
        if arch.startswith(_NOT_PLAIN):
            raise ValueError(f"torchvision's {arch} cannot be read from plain weights: take another, or timm's")
        network = models.get_model(arch, weights=None)
        last = [name for name, layer in network.named_modules() if isinstance(layer, nn.Linear)][-1]
        network.set_submodule(last, nn.Identity())
        return network, last

    def forward_features(self, x: Tensor) -> Tensor:
        # torchvision has no method for it: what its networks pool, or take the first token of.
        name = next((name for name in _BEFORE_POOLING if hasattr(self.model, name)), None)
        if name is None:
            raise ValueError(f"where torchvision's {self.arch} has unpooled features is not known: take timm's")
        with layer_outputs(self.model, [name]) as found:
            self.model(_in_colour(x))
        return found[name]

    def whole(self, num_classes: int) -> nn.Module:
        from torchvision import models

        return models.get_model(self.arch, weights=None, num_classes=num_classes)

    def own_names(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        for pattern, name in _OLD_NAMES.get(re.split(r"[\d_]", self.arch)[0], []):
            weights = {re.sub(pattern, name, key): value for key, value in weights.items()}
        return super().own_names(weights)

    def _weights(self) -> Any:
        from torchvision import models

        return models.get_model_weights(self.arch).DEFAULT

    def normalisation(self) -> dict[str, Any]:
        shown = self._weights().transforms()
        return {"mean": list(shown.mean), "std": list(shown.std)}

    def download(self) -> dict[str, Tensor]:
        before = socket.getdefaulttimeout()
        socket.setdefaulttimeout(_SECONDS)  # torchvision would wait for ever
        try:
            return dict(self._weights().get_state_dict(progress=True, check_hash=True, weights_only=True))
        finally:
            socket.setdefaulttimeout(before)


class TimmTrunk(LibraryTrunk):
    """A classifier of timm, up to its last linear layer; arguments and errors as ``TorchvisionTrunk``'s."""

    library = "timm"

    def build(self, arch: str, size: tuple[int, int]) -> tuple[nn.Module, str]:
        timm = _timm()
        _check_name(arch.partition(".")[0], timm.list_models(), self.library)
        self._size = size
        try:
            network = self._create()
        except RuntimeError as error:  # of a tag that there is not
            tags = ", ".join(timm.list_pretrained(arch.partition(".")[0]))
            raise ValueError(f"timm: {str(error).rstrip('.')}; there are: {tags or 'none'}") from error
        classifier = network.pretrained_cfg.get("classifier")
        if not isinstance(classifier, str):
            raise ValueError(f"timm's {arch} does not end in one linear layer: take another")
        return network, classifier

    def forward_features(self, x: Tensor) -> Tensor:
        return self.model.forward_features(_in_colour(x))  # type: ignore[operator, no-any-return]

    def whole(self, num_classes: int) -> nn.Module:
        return self._create(num_classes=num_classes)

    def _create(self, pretrained: bool = False, num_classes: int = 0) -> Any:
        options = {"pretrained": pretrained, "num_classes": num_classes}
        try:
            return _timm().create_model(self.arch, img_size=self._size, **options)
        except TypeError:  # convolutional networks take any size, and know no such option
            return _timm().create_model(self.arch, **options)

    def normalisation(self) -> dict[str, Any]:
        config: Any = self.model.pretrained_cfg
        return {"mean": list(config["mean"]), "std": list(config["std"])}

    def download(self) -> dict[str, Tensor]:
        with _without_retries():
            return self._create(pretrained=True).state_dict()


@contextmanager
def _without_retries() -> Iterator[None]:
    """Without a connection, from the hub's cache alone: it would try again for two minutes.

    Raises:
        ConnectionError: there is no connection, and what is wanted is not in the cache.
    """
    from huggingface_hub import constants

    offline = constants.HF_HUB_OFFLINE
    trouble = "" if offline else no_connection(constants.ENDPOINT)
    constants.HF_HUB_OFFLINE = bool(offline or trouble)
    try:
        yield
    except Exception as error:  # the hub raises many exception types
        if trouble:
            raise ConnectionError(trouble) from error
        raise
    finally:
        constants.HF_HUB_OFFLINE = offline


def _in_colour(x: Tensor) -> Tensor:
    """Grey images (B, 1, H, W) repeated in three channels."""
    return x.expand(-1, 3, -1, -1) if x.shape[1] == 1 else x


def _timm() -> Any:
    try:
        import timm
    except ImportError as error:
        raise ValueError("timm is not installed: pip install 'pretraining-zoo[timm]'") from error
    return timm


def timm_names() -> list[str]:
    """Names of timm's classifiers; [] where it is not installed."""
    try:
        import timm
    except ImportError:
        return []
    return list(timm.list_models())


def _check_name(arch: str, known: Sequence[str], library: str) -> None:
    if arch not in known:
        raise ValueError(f"{library} has no classifier {arch!r}{did_you_mean(arch, known)}")

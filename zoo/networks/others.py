"""Classifiers of torchvision and timm without their last layer, by name.

They are built untrained, so that checkpoints and exported encoders that hold such a network need no download; its
weights of theirs are loaded by ``zoo.weights``. Within ``model`` parameters have the names that the library gives them.
"""

import difflib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn


class LibraryTrunk(nn.Module):
    """(B, C, H, W) to features (B, F). Grey pictures are repeated in three channels.

    ``model`` is the library's network with nothing in place of its last layer, ``classifier`` that layer's name.
    """

    library = ""

    def __init__(self, input_shape: Sequence[int], arch: str) -> None:
        super().__init__()
        if len(input_shape) != 3 or input_shape[0] not in (1, 3):
            raise ValueError(f"{self.library}'s {arch} takes pictures of 1 or 3 channels; got {tuple(input_shape)}")
        self.arch = arch
        self.model, self.classifier = self.build(arch, (input_shape[1], input_shape[2]))
        self.feature_dim = self._try(tuple(input_shape))

    def build(self, arch: str, size: tuple[int, int]) -> tuple[nn.Module, str]:
        """The network with nothing in its last layer's place, and that layer's name."""
        raise NotImplementedError

    def normalisation(self) -> dict[str, Any]:
        """What their weights were trained on: {"mean": per channel, "std": per channel} of pictures in [0, 1]."""
        raise NotImplementedError

    def download(self) -> dict[str, Tensor]:
        """Their weights, by the library's names; its last layer's may be among them."""
        raise NotImplementedError

    @torch.no_grad()
    def _try(self, shape: tuple[int, ...]) -> int:
        training = self.training
        try:
            features = self.eval()(torch.zeros(1, *shape))
        except (RuntimeError, AssertionError) as error:
            reason = str(error).splitlines()[0]
            raise ValueError(f"{self.library}'s {self.arch} cannot take pictures of {shape}: {reason}") from error
        finally:
            self.train(training)
        return features.shape[1]

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x.expand(-1, 3, -1, -1) if x.shape[1] == 1 else x).flatten(1)


class TorchvisionTrunk(LibraryTrunk):
    """A classifier of ``torchvision.models``, up to its last linear layer.

    Args:
        input_shape: (C, H, W), C 1 or 3.
        arch: its name there.

    Raises:
        ValueError: an unknown name (the nearest is proposed), or pictures that it cannot take.
    """

    library = "torchvision"

    def build(self, arch: str, size: tuple[int, int]) -> tuple[nn.Module, str]:
        from torchvision import models

        _check_name(arch, models.list_models(module=models), self.library)
        network = models.get_model(arch, weights=None)
        linear = [name for name, layer in network.named_modules() if isinstance(layer, nn.Linear)]
        if not linear or getattr(network, "aux_logits", False):
            raise ValueError(f"torchvision's {arch} does not end in one linear layer: take another")
        network.set_submodule(linear[-1], nn.Identity())
        return network, linear[-1]

    def _weights(self) -> Any:
        from torchvision import models

        return models.get_model_weights(self.arch).DEFAULT

    def normalisation(self) -> dict[str, Any]:
        shown = self._weights().transforms()
        return {"mean": list(shown.mean), "std": list(shown.std)}

    def download(self) -> dict[str, Tensor]:
        return dict(self._weights().get_state_dict(progress=True, check_hash=True, weights_only=True))


class TimmTrunk(LibraryTrunk):
    """A classifier of timm, up to its last linear layer; arguments and errors as ``TorchvisionTrunk``'s."""

    library = "timm"

    def build(self, arch: str, size: tuple[int, int]) -> tuple[nn.Module, str]:
        timm = _timm()
        _check_name(arch.partition(".")[0], timm.list_models(), self.library)
        self._size = size
        network = self._create(pretrained=False)
        return network, str(network.pretrained_cfg["classifier"])

    def _create(self, pretrained: bool) -> Any:
        options = {"pretrained": pretrained, "num_classes": 0}
        try:
            return _timm().create_model(self.arch, img_size=self._size, **options)
        except TypeError:  # convolutional networks take any size, and know no such option
            return _timm().create_model(self.arch, **options)

    def normalisation(self) -> dict[str, Any]:
        config: Any = self.model.pretrained_cfg
        return {"mean": list(config["mean"]), "std": list(config["std"])}

    def download(self) -> dict[str, Tensor]:
        return self._create(pretrained=True).state_dict()


def _timm() -> Any:
    try:
        import timm
    except ImportError as error:
        raise ValueError("timm is not installed: pip install 'pretraining-zoo[timm]'") from error
    return timm


def _check_name(arch: str, known: Sequence[str], library: str) -> None:
    if arch not in known:
        near = difflib.get_close_matches(arch, known, n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise ValueError(f"{library} has no classifier {arch!r}{hint}")

"""Networks to compare with: built anew from a module's own options."""

import inspect
from typing import Any

import torch

from zoo.core.base import ZooModule
from zoo.modules.supervised import SupervisedModule


def build_seeded(module: SupervisedModule, cls: type[ZooModule], **options: Any) -> Any:
    """Another module, whose initial weights depend on the seed of ``module`` alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(module._seed)
        return cls(**options)


def supervised_options(module: SupervisedModule) -> dict[str, Any]:
    """The options of a module that all supervised ones have, by name."""
    names = inspect.signature(SupervisedModule.__init__).parameters
    return {name: module.hparams[name] for name in names if name in module.hparams}

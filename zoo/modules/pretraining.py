"""Pretraining of a backbone, before a fine-tuning that names none: on all training samples, without their labels.

Two ways, of which the input's size decides:

- ``map``: a self-organising map; features are a sample's nearness to each of its units. Of small images and tables,
  whose distances mean something;
- ``denoising``: a denoising autoencoder; features are those of a convolutional network, or of layers. Of the others.
"""

import logging
import math
from collections.abc import Sequence
from typing import Any, Literal

from zoo.core.base import ZooModule
from zoo.core.nested_fit import fit_nested
from zoo.modules.autoencoder import AutoencoderModule
from zoo.modules.baseline import build_seeded
from zoo.modules.som import SOMModule
from zoo.networks.low_rank import load_plain

log = logging.getLogger(__name__)
Pretraining = Literal["auto", "map", "denoising", "none"]
ORIGIN = "pretrained on the training data"  # of such a backbone's weights
_SMALL = 256  # numbers in a sample of which a map is made
_SIDE = {True: 12, False: 8}  # units of a side of the map, of images or not: there are fewer rows in a table
_MOST_STEPS = 3000  # of large data, which need fewer epochs
_CODE = 32  # numbers in a denoising autoencoder's code
_CORRUPTION = {True: "view", False: "gaussian"}  # of images or not


def untrained_config(way: Pretraining, input_shape: Sequence[int], normalisation: dict[str, Any] | None) -> Any:
    """Plain values of the encoder that is to be pretrained, see ``Encoder.get_config``; "" where none is."""
    if way == "none":
        return ""
    network: Any = "conv" if len(input_shape) == 3 else "mlp"
    if way == "map" or (way == "auto" and math.prod(input_shape) <= _SMALL):
        side = _SIDE[len(input_shape) == 3]
        network = {"name": "prototypes", "rows": side, "columns": side, "code": "activation"}
    config = {"network": network, "input_shape": list(input_shape), "output_dim": None, "activation": None}
    return {**config, "normalisation": normalisation, "origin": ORIGIN}


def pretrain(module: Any) -> None:
    """Train an autoencoder or a map on the data of a module that is fitting, and give its encoder the weights.

    Args:
        module: Fine-tuning whose encoder is of ``untrained_config``; ``pretrain_epochs`` limits the pretraining.
    """
    hp, trainer = module.hparams, module.trainer
    other = _map(module) if isinstance(module.encoder.spec, dict) else _autoencoder(module)
    text = "no backbone is named (`backbone` PATH): a %s is trained first, without labels"
    name = "self-organising map" if isinstance(other, SOMModule) else "denoising autoencoder"
    log.warning(text + " (`pretraining` none leaves it out)", name)
    data = getattr(trainer, "datamodule", None)
    everything = data.all_samples() if data is not None and hasattr(data, "all_samples") else data
    fit_nested(trainer, other, hp.pretrain_epochs, _MOST_STEPS, data=everything)
    for encoder in [module.encoder, *([module.start["encoder"]] if module.start is not None else [])]:
        load_plain(encoder, other.get_submodule("encoder").state_dict())


def _map(module: Any) -> ZooModule:
    options = {"input_shape": module.hparams.input_shape, "normalisation": module.encoder.normalisation}
    spec = module.encoder.spec
    return build_seeded(module, SOMModule, **options, rows=spec["rows"], columns=spec["columns"], encoding=spec["code"])


def _autoencoder(module: Any) -> ZooModule:
    options = {"input_shape": module.hparams.input_shape, "normalisation": module.encoder.normalisation}
    corruption = _CORRUPTION[len(module.hparams.input_shape) == 3]
    noise = {"variant": "denoising", "corruption": corruption, "network": module.encoder.spec}
    return build_seeded(module, AutoencoderModule, **options, **noise, latent_dim=_CODE, schedule="cosine")

"""What evaluation steps return, so that callbacks need not compute it again.

The project's modules return ``StepOutputs``, a dictionary, from their evaluation steps. B samples, C outputs of a
head:

- ``features``: (B, D), where the module has them from its loss;
- ``prediction``: (B, C) float32, of supervised modules: probabilities, or the values of a regression;
- ``label``: the batch's labels under the head's numbers, likewise.

Other people's modules may return anything, or nothing: what they return is not asked, and what is missing is computed.
"""

from typing import Any

import torch
from torch import Tensor

from callbacks.figures import input_key_of
from zoo.core.batch import FEATURES, LABEL, PREDICTION, TOKENS, StepOutputs


def has_features(module: Any) -> bool:
    """Whether batches have samples with features: rows of a running text, cut anywhere, are not samples."""
    return callable(getattr(module, "encode", None)) and input_key_of(module) != TOKENS


def features_of(module: Any, outputs: Any, batch: Any) -> Tensor:
    """Features (B, D) float32 of a batch: what the step returned, or ``module.encode(x)``.

    Args:
        module: Module that is evaluated, with ``encode(x) -> (B, D)``.
        outputs: What its step returned. What had to be computed is kept there if it is a ``StepOutputs``, so that the
            next callback finds it.
        batch: The evaluated batch as a mapping.
    """
    features = _known(outputs, FEATURES)
    if features is None:
        with torch.no_grad():
            features = _kept(outputs, FEATURES, module.encode(batch[input_key_of(module)]))
    return features.flatten(1).float()


def predictions_of(module: Any, outputs: Any, batch: Any) -> tuple[Tensor, Tensor]:
    """Predictions (B, C) float32 and labels under the head's numbers, (B,) long or (B, C), of a labelled batch.

    Args:
        module: Module that is evaluated, with ``classify(x) -> (B, C)`` and maybe ``to_head_labels(labels)``.
        outputs: What its step returned; what had to be computed is kept there if it is a ``StepOutputs``.
        batch: The evaluated batch as a mapping, with labels.
    """
    predictions, labels = _known(outputs, PREDICTION), _known(outputs, LABEL)
    if predictions is None:
        with torch.no_grad():
            predictions = _kept(outputs, PREDICTION, module.classify(batch[input_key_of(module)]))
    if labels is None:
        to_head_labels = getattr(module, "to_head_labels", None)
        labels = _kept(outputs, LABEL, to_head_labels(batch[LABEL]) if to_head_labels else batch[LABEL])
    return predictions.float(), labels


def _known(outputs: Any, name: str) -> Tensor | None:
    found = outputs.get(name) if isinstance(outputs, StepOutputs) else None
    return found if isinstance(found, Tensor) else None


def _kept(outputs: Any, name: str, value: Tensor) -> Tensor:
    if isinstance(outputs, StepOutputs):
        outputs[name] = value
    return value

"""What evaluation steps return, so that callbacks need not compute it again.

The project's modules return a plain dictionary from ``validation_step`` and ``test_step``. B samples, C outputs of a
head:

- ``features``: (B, D), where the module has them from its loss;
- ``prediction``: (B, C) float32, of supervised modules: probabilities, or the values of a regression;
- ``label``: the batch's labels under the head's numbers, likewise.

Other people's modules may return anything, or nothing: what is missing is computed here.
"""

from typing import Any

import torch
from torch import Tensor

from callbacks.figures import input_key_of
from zoo.core.batch import LABEL

FEATURES = "features"
PREDICTION = "prediction"


def features_of(module: Any, outputs: Any, batch: Any) -> Tensor:
    """Features (B, D) float32 of a batch: what the step returned, or ``module.encode(x)``.

    Args:
        module: module that is evaluated, with ``encode(x) -> (B, D)``.
        outputs: what its step returned. What had to be computed is kept there if it is a dictionary, so that the next
            callback finds it.
        batch: the evaluated batch as a mapping.
    """
    known = isinstance(outputs, dict)
    if known and isinstance(outputs.get(FEATURES), Tensor):
        return outputs[FEATURES].flatten(1).float()
    with torch.no_grad():
        features = module.encode(batch[input_key_of(module)])
    if known:
        outputs[FEATURES] = features
    return features.flatten(1).float()


def predictions_of(module: Any, outputs: Any, batch: Any) -> tuple[Tensor, Tensor]:
    """Predictions (B, C) float32 and labels under the head's numbers, (B,) long or (B, C), of a labelled batch.

    Args:
        module: module that is evaluated, with ``classify(x) -> (B, C)`` and maybe ``to_head_labels(labels)``.
        outputs: what its step returned; what had to be computed is kept there if it is a dictionary.
        batch: the evaluated batch as a mapping, with labels.
    """
    known = isinstance(outputs, dict)
    if known and isinstance(outputs.get(PREDICTION), Tensor) and isinstance(outputs.get(LABEL), Tensor):
        return outputs[PREDICTION].float(), outputs[LABEL]
    with torch.no_grad():
        prediction = module.classify(batch[input_key_of(module)]).float()
    to_head_labels = getattr(module, "to_head_labels", None) or getattr(module, "known_labels", None)
    labels = to_head_labels(batch[LABEL]) if callable(to_head_labels) else batch[LABEL]
    if known:
        outputs.update({PREDICTION: prediction, LABEL: labels})
    return prediction, labels

"""What evaluation steps return, so that callbacks need not compute it again.

The project's modules return a plain dictionary from ``validation_step`` and ``test_step``. B samples, C outputs of a
head:

- ``features``: (B, D), where the module has them from its loss;
- ``prediction``: (B, C) float32, of supervised modules: probabilities, or the values of a regression;
- ``label``: the batch's labels under the head's numbers, likewise.

Other people's modules may return anything, or nothing: what is missing is computed here. So it is for a subclass whose
``encode`` or ``classify`` is another than the one that its parent's loss knows.
"""

from typing import Any

import torch
from torch import Tensor

from callbacks.figures import input_key_of
from zoo.core.batch import LABEL

FEATURES, PREDICTION = "features", "prediction"
_COMPUTED = "computed_"  # leads the names of what was computed here


def features_of(module: Any, outputs: Any, batch: Any) -> Tensor:
    """Features (B, D) float32 of a batch: what the step returned, or ``module.encode(x)``.

    Args:
        module: module that is evaluated, with ``encode(x) -> (B, D)``.
        outputs: what its step returned. What had to be computed is kept there if it is a dictionary, so that the next
            callback finds it.
        batch: the evaluated batch as a mapping.
    """
    features = _known(module, outputs, FEATURES, "encode")
    if features is None:
        with torch.no_grad():
            features = module.encode(batch[input_key_of(module)])
        _keep(outputs, FEATURES, features)
    return features.flatten(1).float()


def predictions_of(module: Any, outputs: Any, batch: Any) -> tuple[Tensor, Tensor]:
    """Predictions (B, C) float32 and labels under the head's numbers, (B,) long or (B, C), of a labelled batch.

    Args:
        module: module that is evaluated, with ``classify(x) -> (B, C)`` and maybe ``to_head_labels(labels)``.
        outputs: what its step returned; what had to be computed is kept there if it is a dictionary.
        batch: the evaluated batch as a mapping, with labels.
    """
    predictions = _known(module, outputs, PREDICTION, "classify")
    if predictions is None:
        with torch.no_grad():
            predictions = module.classify(batch[input_key_of(module)])
        _keep(outputs, PREDICTION, predictions)
    labels = _known(module, outputs, LABEL, "to_head_labels")
    if labels is None:
        to_head_labels = getattr(module, "to_head_labels", None) or getattr(module, "known_labels", None)
        labels = to_head_labels(batch[LABEL]) if callable(to_head_labels) else batch[LABEL]
    return predictions.float(), labels


def _keep(outputs: Any, name: str, value: Tensor) -> None:
    if isinstance(outputs, dict):
        outputs[_COMPUTED + name] = value


def _known(module: Any, outputs: Any, name: str, method: str) -> Tensor | None:
    """What a step returned under a name, or a callback before this one computed."""
    if not isinstance(outputs, dict):
        return None
    returned = outputs.get(name) if _loss_knows(type(module), method) else None
    found = outputs.get(_COMPUTED + name, returned)
    return found if isinstance(found, Tensor) else None


def _loss_knows(cls: type, method: str) -> bool:
    """Whether a method is the one that a class's ``loss`` was written with: no subclass of that has another."""
    order = {
        name: next((i for i, base in enumerate(cls.__mro__) if name in vars(base)), None) for name in ("loss", method)
    }
    return None in order.values() or order[method] >= order["loss"]  # type: ignore[operator]

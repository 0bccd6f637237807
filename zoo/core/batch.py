"""The batch contract: named tensors, each with the batch first.

``input`` (B, ...) and, where there is one, ``label`` (B,) long, -1 meaning unlabelled; text is ``tokens`` (B, L), ids
of words, -1 meaning none.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

INPUT = "input"
LABEL = "label"
TOKENS = "tokens"


def as_mapping(batch: Any, name: str = INPUT) -> Mapping[str, Any]:
    """Give any loader's batch the contract's form.

    Args:
        batch: a mapping, a tensor (the input), or ``(input,)`` / ``(input, label)``.
        name: of the input.

    Returns:
        The batch itself if it is a mapping, otherwise a new one over the same tensors.

    Raises:
        ValueError: for anything else.
    """
    if isinstance(batch, Mapping):
        return batch
    if isinstance(batch, Tensor):
        return {name: batch}
    if isinstance(batch, Sequence) and 1 <= len(batch) <= 2:
        return dict(zip((name, LABEL), batch, strict=False))
    raise ValueError(f"a batch is a mapping of tensors, a tensor or (input, label); got {type(batch).__name__}")


def require(batch: Mapping[str, Any], key: str, module: object) -> Any:
    """``batch[key]``, or a ``ValueError`` that names the module, the key, and the keys that are there."""
    if key in batch:
        return batch[key]
    raise ValueError(
        f"{type(module).__name__} needs {key!r} in the batch, which has only: {', '.join(map(repr, batch))}"
    )

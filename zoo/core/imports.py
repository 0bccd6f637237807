"""Objects by their import paths."""

import importlib
from typing import Any


def load(path: str) -> Any:
    """The object at an import path, whose module is imported.

    Raises:
        ImportError, AttributeError: there is none.
    """
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)

"""Pretraining techniques as LightningModules; names are imported when first used."""

from importlib import import_module
from pathlib import Path
from typing import Any

from zoo.core.shared_packages import SharedPackages
from zoo.registry import MODULES

SharedPackages(Path(__file__).parents[1], ("callbacks", "datamodules")).install()
_EXPORTS = {
    **{name: path for path, _, name in (entry.path.rpartition(".") for entry in MODULES.values())},
    "ZooModule": "zoo.core.base",
    "load_encoder": "zoo.io.encoder",
    "load_vectors": "zoo.io.word_vectors",
    "save_encoder": "zoo.io.encoder",
    "save_vectors": "zoo.io.word_vectors",
}
__all__ = sorted(_EXPORTS)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return _version()
    if name not in _EXPORTS:
        raise AttributeError(f"module 'zoo' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(_EXPORTS[name]), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version  # takes a while: only who asks waits

    try:
        return version("pretraining-zoo")
    except PackageNotFoundError:  # run from a copy of the sources that nobody installed
        return "0+unknown"

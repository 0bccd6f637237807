"""Packages of this project and of a user's that have the same name, such as ``callbacks``, as one package."""

import sys
import warnings
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType


class SharedPackages(MetaPathFinder):
    """Finds packages that live in this project and perhaps in the user's, too.

    Python takes the first folder of a name that is on its path and hides all others: a project's own ``callbacks``
    would hide ours, or ours theirs. Here the package is theirs where there is one, with ours first on its search path
    for modules. A single file, ``callbacks.py``, may replace the user's folder.

    Args:
        root: Folder that holds this project's packages.
        names: Names of the packages.
    """

    def __init__(self, root: Path, names: Sequence[str]) -> None:
        self.root, self.names = root, names

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec that other finders give, with this project's folder on its search path."""
        if fullname not in self.names:
            return None
        theirs = self._theirs(fullname)
        spec = theirs if theirs and theirs.loader else self._found_otherwise(fullname, target)
        spec = spec or PathFinder.find_spec(fullname, [str(self.root)])
        if spec is not None:
            found = [place for each in (theirs, spec) if each for place in each.submodule_search_locations or ()]
            spec.submodule_search_locations = self._places(fullname, list(dict.fromkeys(found)))
        return spec

    def _theirs(self, fullname: str) -> ModuleSpec | None:
        """The user's own, wherever it is on the path: a console script has the current folder behind ours."""
        elsewhere = [place for place in sys.path if Path(place or ".").resolve() != self.root.resolve()]
        return PathFinder.find_spec(fullname, elsewhere)

    def _found_otherwise(self, fullname: str, target: ModuleType | None) -> ModuleSpec | None:
        others = (finder for finder in sys.meta_path if finder is not self)
        specs = (finder.find_spec(fullname, None, target) for finder in others)
        return next((spec for spec in specs if spec is not None), None)

    def _places(self, name: str, theirs: Sequence[str]) -> list[str]:
        ours = str(self.root / name)
        others = [place for place in theirs if place != ours]
        for place in others:
            if hidden := sorted(_modules(Path(ours)) & _modules(Path(place))):
                text = f"{', '.join(hidden)} in {place} hidden by files of pretraining-zoo: give other names"
                warnings.warn(text, stacklevel=2)
        return [ours, *others]

    def install(self) -> None:
        """Put this finder first; packages that are already imported are extended."""
        others = [finder for finder in sys.meta_path if type(finder).__name__ != type(self).__name__]
        sys.meta_path[:] = [self, *others]  # one of them: two would ask each other for ever
        for name in self.names:
            if module := sys.modules.get(name):
                module.__path__ = self._places(name, list(getattr(module, "__path__", ())))


def _modules(folder: Path) -> set[str]:
    """Files and packages in a folder that can be imported from it."""
    inside = [path for path in folder.iterdir() if path.name[0] not in "_."] if folder.is_dir() else []
    return {path.name for path in inside if path.suffix == ".py" or (path / "__init__.py").is_file()}

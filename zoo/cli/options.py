"""Options of a class, read from its source, so that help and mistakes need no slow import."""

import ast
import importlib.util
import re
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from zoo.registry import MODULES


class Option(NamedTuple):
    """An argument of a constructor.

    Args:
        name: Name.
        type: Annotation as text, aliases of choices spelled out.
        default: Default as it is written; None where it must be given.
        text: Phrase of the docstring.
    """

    name: str
    type: str
    default: str | None
    text: str

    @property
    def choices(self) -> list[str]:
        """The values that it names; others are allowed, too, where its type is a union."""
        found = re.search(r"Literal\[([^\]]+)\]", self.type)
        return [str(value) for value in ast.literal_eval(f"[{found.group(1)}]")] if found else []


class Signature(NamedTuple):
    """What a class's source says of it.

    Args:
        summary: First line of its docstring.
        options: Options by name, in the constructor's order.
        renamed: Old names of options to the present ones.
        texts: Phrases of its docstring and its parents'.
        bases: Import paths of the class and its parents, the nearest first.
        complete: Whether no option can be hidden in a parent that could not be read.
    """

    summary: str
    options: dict[str, Option]
    renamed: dict[str, str]
    texts: dict[str, str]
    bases: tuple[str, ...]
    complete: bool


_EXPORTED = {f"zoo.{entry.path.rpartition('.')[2]}": entry.path for entry in MODULES.values()}  # when first used
_NOTHING = Signature("", {}, {}, {}, (), False)


def signature(path: str) -> Signature:
    """The options of a class.

    Args:
        path: Import path of the class.

    Returns:
        An empty and incomplete one where no source is found.
    """
    module, _, name = path.rpartition(".")
    return _of_class(module, name)


@lru_cache
def _of_class(module: str, name: str) -> Signature:
    module, found = _find(module, name)
    if not isinstance(found, ast.ClassDef):
        return _NOTHING
    doc = ast.get_docstring(found) or ""
    bases = [_of_class(module, ast.unparse(base)) for base in found.bases]
    parent = next((base for base in bases if base.options), bases[0] if bases else _NOTHING._replace(complete=True))
    texts = {**parent.texts, **_phrases(doc)}
    renamed = {**parent.renamed, **_renamed(found)}
    init = next((f for f in found.body if isinstance(f, ast.FunctionDef) and f.name == "__init__"), None)
    own = _arguments(module, init, texts) if init else {}
    inherited = {} if init and not init.args.kwarg else _passed_on(init, parent.options)
    options = {**own, **{k: o._replace(text=texts.get(k, o.text)) for k, o in inherited.items() if k not in own}}
    complete = bool(init and not init.args.kwarg) or parent.complete
    paths = (f"{module}.{found.name}", *(path for base in bases for path in base.bases))
    return Signature(doc.partition("\n")[0], options, renamed, texts, paths, complete)


def _arguments(module: str, init: ast.FunctionDef, texts: dict[str, str]) -> dict[str, Option]:
    arguments = [*init.args.args[1:], *init.args.kwonlyargs]
    defaults = (
        [*[None] * len(init.args.args), *init.args.defaults][-len(init.args.args) + 1 :] if init.args.args else []
    )
    found = {}
    for argument, default in zip(arguments, [*defaults, *init.args.kw_defaults], strict=False):
        kind = _spelled_out(module, argument.annotation)
        value = None if default is None else ast.unparse(default)
        found[argument.arg] = Option(argument.arg, kind, value, texts.get(argument.arg, ""))
    return found


def _passed_on(init: ast.FunctionDef | None, options: dict[str, Option]) -> dict[str, Option]:
    """The parent's options that a constructor's ``**options`` reach: those that it does not set itself."""
    calls = [node for node in ast.walk(init) if isinstance(node, ast.Call)] if init else []
    call = next((c for c in calls if ast.unparse(c.func) == "super().__init__"), None)
    if call is None:
        return options
    names = [name for name in options if name not in {keyword.arg for keyword in call.keywords}]
    positional = list(options)[: sum(not isinstance(argument, ast.Starred) for argument in call.args)]
    return {name: options[name] for name in names if name not in positional}


def _renamed(found: ast.ClassDef) -> dict[str, str]:
    for node in found.body:
        target = (
            node.target if isinstance(node, ast.AnnAssign) else node.targets[0] if isinstance(node, ast.Assign) else 0
        )
        if isinstance(target, ast.Name) and target.id == "renamed" and isinstance(node.value, ast.Dict):  # type: ignore
            return dict(ast.literal_eval(node.value))  # type: ignore[attr-defined]
    return {}


def _phrases(doc: str) -> dict[str, str]:
    """Phrases of the section "Args" of a docstring, each as one line."""
    section = re.search(r"^Args:\n((?:[ ]{4}.*\n?|\n)+)", doc, re.M)
    found = re.findall(r"^    (\w+): (.+(?:\n {5,}.+)*)", section.group(1), re.M) if section else []
    return {name: " ".join(text.split()) for name, text in found}


def _spelled_out(module: str, annotation: ast.expr | None) -> str:
    """An annotation as text, in which names of choices are replaced by the choices."""
    if annotation is None:
        return ""
    if isinstance(annotation, ast.Name | ast.Attribute):
        _, found = _find(module, ast.unparse(annotation))
        if isinstance(found, ast.Subscript):
            return ast.unparse(found)
    if isinstance(annotation, ast.BinOp):
        return f"{_spelled_out(module, annotation.left)} | {_spelled_out(module, annotation.right)}"
    return ast.unparse(annotation)


def _find(module: str, name: str) -> tuple[str, ast.AST | None]:
    """Where a name of a module is defined, imports followed: that module, and the class or the value assigned."""
    first, _, rest = name.partition(".")
    if exported := _EXPORTED.get(f"{module}.{name}"):
        module, _, name = exported.rpartition(".")
    for node in _tree(module):
        if isinstance(node, ast.ClassDef) and node.name == name:
            return module, node
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            return module, node.value
        if isinstance(node, ast.ImportFrom | ast.Import):
            for alias in node.names:
                if (alias.asname or alias.name) == first:
                    return _imported(module, node, alias.name, rest)
    return module, None


def _imported(module: str, node: ast.ImportFrom | ast.Import, name: str, rest: str) -> tuple[str, ast.AST | None]:
    if isinstance(node, ast.Import):
        return _find(name, rest)
    parents = module.split(".")[: -node.level or None] if node.level else []
    source = ".".join([*parents, *([node.module] if node.module else [])])
    return _find(f"{source}.{name}", rest) if rest else _find(source, name)


@lru_cache
def _tree(module: str) -> list[ast.stmt]:
    """Statements of a module's source, which is not run; [] where there is none."""
    package, *inner = module.split(".")
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        return []
    places = [Path(place) for place in (spec and spec.submodule_search_locations) or ()]
    files = [Path(spec.origin)] if spec and spec.origin and not inner else []
    files += [place.joinpath(*inner, "__init__.py") for place in places]
    files += [place.joinpath(*inner).with_suffix(".py") for place in places if inner]
    file = next((file for file in files if file.is_file()), None)
    try:
        return ast.parse(file.read_text()).body if file else []
    except (SyntaxError, UnicodeDecodeError):
        return []

"""Who may import whom, and other promises about the shape of the code, read from the source itself."""

import ast
import sys

import pytest
from conftest import ROOT

PACKAGES = ("zoo", "datamodules", "callbacks")
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))

# Rooms from the floor up: each may import those that come before it. ``core`` and ``networks`` are on one floor:
# networks take plain helpers of core, and functional files a hint at names, which knows no tensors.
FLOORS = ["functional", "core", "networks", "tasks", "io", "distillation", "modules", "compare", "cli"]
PLAIN = {"zoo.core.suggest", "zoo.core.arguments", "zoo.core.options", "zoo.core.distributed"}
ALLOWED = {f"zoo.{room}": {f"zoo.{below}" for below in FLOORS[: i + 1]} for i, room in enumerate(FLOORS)}
ALLOWED["zoo.functional"] |= {"zoo.core.suggest"}
ALLOWED["zoo.networks"] = {"zoo.functional", "zoo.networks"} | PLAIN
ALLOWED["zoo.cli"] |= {"zoo.registry"}
ALLOWED["zoo.compare"] |= {"zoo.registry"}
ALLOWED |= {
    "zoo": {"zoo"},
    "datamodules": {"datamodules", "zoo.functional", "zoo.core"},
    "callbacks": {"callbacks", "zoo.functional", "zoo.core"},
}
OUTSIDE = {
    "zoo": {
        *("torch", "lightning", "torchvision", "safetensors", "numpy", "rich", "gensim", "sklearn", "torchmetrics"),
        *("timm", "huggingface_hub", "onnx", "onnxruntime"),  # only if installed; the hub comes with timm
        *("jsonargparse", "yaml"),  # the second is the first one's
        "scipy",  # scikit-learn's
    },
    "datamodules": {"torch", "lightning", "torchvision", "numpy", "PIL", "sklearn", "gensim"},
    "callbacks": {
        "torch",
        "lightning",
        "torchvision",
        "torchmetrics",
        "matplotlib",
        "rich",
        "numpy",
        "gensim",
        "sklearn",
        "safetensors",
        "PIL",
        "jinja2",
        "yaml",  # Lightning's
    },
}


def dotted(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module


@pytest.mark.parametrize("path", FILES, ids=dotted)
def test_imports_only_what_its_place_allows(path):
    name = dotted(path)
    package = name.partition(".")[0]
    part = next(p for p in sorted(ALLOWED, key=len, reverse=True) if (name + ".").startswith(p + "."))
    for imported in imports(path):
        top = imported.partition(".")[0]
        if top in PACKAGES:
            assert any((imported + ".").startswith(p + ".") for p in ALLOWED[part]), f"{name} imports {imported}"
        else:
            assert top in OUTSIDE[package] or top in sys.stdlib_module_names, f"{name} imports {imported}"


def test_no_imports_in_a_circle():
    """Those within functions, too."""
    known = {dotted(path): path for path in FILES}
    graph = {name: {i for i in named_modules(path) if i in known and i != name} for name, path in known.items()}
    while leaves := {name for name, imported in graph.items() if not imported & graph.keys()}:
        graph = {name: imported for name, imported in graph.items() if name not in leaves}
    assert not graph, f"in a circle, or above one: {sorted(graph)}"


def named_modules(path):
    """All that a file imports, a name from a package counting as that package's module if it is one."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            modules = [name for name in inner if (ROOT / f"{name.replace('.', '/')}.py").is_file()]
            yield from modules or [node.module]


def test_the_file_list_shows_the_architecture():
    rooms = {path.name for path in (ROOT / "zoo").iterdir()} - {"__init__.py", "__pycache__", "py.typed"}
    assert rooms == {"registry.py", *FLOORS}
    long = [path.name for path in (ROOT / "zoo/modules").glob("*.py") if len(path.read_text().splitlines()) > 300]
    assert len(long) <= 1, f"think again at 300 lines: {long}"


@pytest.mark.parametrize("path", FILES, ids=dotted)
def test_what_core_does_is_done_there_alone(path):
    """Files written beside and renamed, and hints at names."""
    if not dotted(path).startswith("zoo.core."):
        for forbidden in ("os.getpid(", "difflib", "len(next(iter(batch"):
            assert forbidden not in path.read_text(), f"{dotted(path)}: {forbidden}"


def test_functional_and_networks_know_no_lightning():
    for path in FILES:
        if dotted(path).startswith(("zoo.functional", "zoo.networks")):
            assert not any(i.startswith("lightning") for i in imports(path)), path


def test_base_module_stays_small():
    assert len((ROOT / "zoo/core/base.py").read_text().splitlines()) <= 120


def test_light_files_import_nothing_heavy():
    """Help and mistakes are answered before torch is loaded."""
    for name in ("zoo/__init__.py", "zoo/cli/__init__.py", "zoo/cli/main.py", "zoo/registry.py", "train.py"):
        tree = ast.parse((ROOT / name).read_text())
        tops = [n for n in tree.body if isinstance(n, ast.Import | ast.ImportFrom)]
        found = {(n.module if isinstance(n, ast.ImportFrom) else n.names[0].name).partition(".")[0] for n in tops}
        assert found <= {"zoo", *sys.stdlib_module_names}, name


@pytest.mark.parametrize("path", FILES, ids=dotted)
def test_public_names_are_documented(path):
    tree = ast.parse(path.read_text())
    if tree.body:
        assert ast.get_docstring(tree), f"{path} has no docstring"
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{path}: {node.name}"


@pytest.mark.parametrize("path", FILES, ids=dotted)
def test_nothing_is_unpickled_and_no_private_trainer_state_is_used(path):
    text = path.read_text()
    for forbidden in ("weights_only=False", "pickle.load", "yaml.load(", "trainer._", "torch.hub"):
        assert forbidden not in text, f"{path}: {forbidden}"

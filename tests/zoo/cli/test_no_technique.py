"""The command line knows techniques by the registry alone: none is named in its code."""

import ast
import re

import pytest
from conftest import ROOT

from zoo.registry import MODULES

FILES = sorted((ROOT / "zoo" / "cli").glob("*.py"))
CLASSES = [entry.path.rpartition(".")[2] for entry in MODULES.values()]
PATHS = [entry.path.rpartition(".")[0] for entry in MODULES.values()]
GROUPS = [name for entry in MODULES.values() for name in entry.callbacks]
ONLY_OF_ONE = ["GradientFreeModule", "gradient_free", "comparison", "save_vectors", "to_keyed_vectors"]
FORBIDDEN = {*MODULES, *CLASSES, *PATHS, *GROUPS, *ONLY_OF_ONE}


def words(tree):
    """Identifiers, and the words of every text, documentation included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from (word.strip(".") for word in re.findall(r"[\w.]+", node.value))
        for field in ("id", "attr", "arg", "name", "module"):
            if isinstance(name := getattr(node, field, None), str):
                yield name


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_no_technique_is_named(path):
    named = {word for word in words(ast.parse(path.read_text())) if word in FORBIDDEN or word.startswith(tuple(PATHS))}
    assert not named


def test_the_check_sees_a_name():
    tree = ast.parse('"""As of gan."""\nfrom zoo.modules.gan import x\nif module.comparison: pass')
    assert {"gan", "zoo.modules.gan", "comparison"} <= set(words(tree)) & FORBIDDEN

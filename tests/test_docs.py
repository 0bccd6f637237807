"""What documents say of the code is so: pages, options and defaults, printed commands, links, renamed options."""

import doctest
import importlib
import inspect
import re
import shlex
import types
from pathlib import Path

import pytest
import yaml
from conftest import ROOT
from lightning.pytorch import Trainer

import zoo
from zoo.registry import CALLBACKS, DATA, MODULES, RENAMED_GROUPS

PAGES = ROOT / "docs" / "techniques"
README = (ROOT / "README.md").read_text()
CHANGELOG = (ROOT / "CHANGELOG.md").read_text()
DOCUMENTS = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "benchmarks").glob("*.md")),
]
HEADINGS = [
    "The idea",
    "The textbook loop",
    "Run it",
    "Options that matter",
    "What a run leaves behind",
    "What is logged",
    "Departures from the papers",
    "How it was checked",
    "What was measured",
    "Left out",
    "Papers",
]
DOCUMENTED = (types.FunctionType, property, classmethod, staticmethod)
pages = pytest.mark.parametrize("name", MODULES)


def load(path):
    module, _, attribute = path.rpartition(".")
    return getattr(importlib.import_module(module), attribute)


def options(cls):
    """Constructor options by name, those that are passed on to a parent included."""
    found = {}
    for base in cls.__mro__:
        if "__init__" in vars(base):
            parameters = inspect.signature(base.__init__).parameters
            found = {**parameters, **found}
            if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
                break
    return found


def commands(text):
    """Printed commands of the project, as lists of words."""
    lines = [line for block in re.findall(r"```sh\n(.*?)```", text, re.S) for line in block.splitlines()]
    return [shlex.split(line) for line in lines if line.startswith("python train.py")]


def chosen(words, flag, default):
    return words[words.index(flag) + 1] if flag in words else default


@pages
def test_every_technique_has_a_page_and_a_row_that_links_to_it(name):
    text = (PAGES / f"{name}.md").read_text()
    assert text.startswith("# ") and re.findall(r"^## (.+)$", text, re.M) == HEADINGS
    row = next(line for line in README.splitlines() if line.startswith(f"| [`{name}`]"))
    assert f"(docs/techniques/{name}.md)" in row
    assert f"(techniques/{name}.md)" in (ROOT / "docs" / "index.md").read_text()


def test_no_page_is_of_a_technique_that_is_gone():
    assert {path.stem for path in PAGES.glob("*.md")} == set(MODULES)


@pages
def test_options_on_a_page_are_the_class_s_with_its_defaults(name):
    """The table's first two columns: an option's name, and its default as YAML writes it."""
    section = (PAGES / f"{name}.md").read_text().partition("## Options that matter\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| `(.+?)` \|", section, re.M)
    assert len(rows) >= 3
    known = options(load(MODULES[name].path))
    for option, default in rows:
        assert option in known, f"{name} has no option {option}"
        assert yaml.safe_load(default) == known[option].default, f"{name}'s {option} is {known[option].default!r}"


@pages
def test_departures_are_numbered(name):
    """So that somebody can name one."""
    section = (PAGES / f"{name}.md").read_text().partition("## Departures from the papers\n")[2].partition("\n## ")[0]
    numbers = [int(number) for number in re.findall(r"^(\d+)\. ", section, re.M)]
    assert numbers == list(range(1, len(numbers) + 1)) and len(numbers) >= 2
    assert not re.findall(r"^- ", section, re.M)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.stem)
def test_options_in_printed_commands_exist(path):
    for words in commands(path.read_text()):
        name = chosen(words, "--module", None)
        source = chosen(words, "--data", MODULES[name].data if name in MODULES else "digits")
        if source not in DATA:  # a class of the page's own
            continue
        data = load(DATA[source].path)
        own = MODULES[name].callbacks if name in MODULES else {}
        groups = {"trainer": Trainer, "data": data, **{k: load(v) for k, v in {**CALLBACKS, **own}.items()}}
        if name in MODULES:
            groups["module"] = groups["model"] = load(MODULES[name].path)
        for group, option in re.findall(r" --(\w+)\.(\w+)", " ".join(words)):
            if group in groups:
                assert option in options(groups[group]), f"--{group}.{option} in {shlex.join(words)}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.stem)
def test_links_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)#\s]+)", path.read_text()):
        if "://" not in target:
            assert (path.parent / target).exists(), target


def registered():
    """Import paths of the registry's modules, datamodules and callbacks."""
    paths = [entry.path for table in (MODULES, DATA) for entry in table.values()] + list(CALLBACKS.values())
    return paths + [path for entry in MODULES.values() for path in entry.callbacks.values()]


def renamed():
    """Old and new names of options, from every class of the registry and its parents."""
    for path in registered():
        for base in load(path).__mro__:
            yield from ((base.__name__, old, new) for old, new in vars(base).get("renamed", {}).items())
    yield from (("command line", f"--{old}", f"--{new}") for old, new in RENAMED_GROUPS.items())


def test_the_changelog_names_every_renamed_option():
    lines = CHANGELOG.splitlines()
    for cls, old, new in set(renamed()):
        said = [f"`{old}`"] + ([f"`{new}`"] if new else [])  # "" is an option that is gone
        assert any(all(word in line for word in said) for line in lines), f"{cls}: {old} is now {new or 'gone'}"


@pytest.mark.parametrize("path", sorted((ROOT / "zoo" / "functional").glob("*.py")), ids=lambda path: path.stem)
def test_examples_in_docstrings_are_right(path):
    assert doctest.testmod(importlib.import_module(f"zoo.functional.{path.stem}")).failed == 0


def public_names(module):
    """Classes and functions of a module, and methods and properties of these classes, with their docstrings."""
    for name, value in vars(module).items():
        if name.startswith("_") or getattr(value, "__module__", "") != module.__name__:
            continue
        if inspect.isclass(value) or inspect.isfunction(value):
            yield name, inspect.getdoc(value)
        for method, kind in vars(value).items() if inspect.isclass(value) else ():
            if not method.startswith("_") and isinstance(kind, DOCUMENTED):
                yield f"{name}.{method}", inspect.getdoc(getattr(value, method))  # its own, or the overridden one's


PACKAGES = ["core", "functional", "networks", "io", "distillation", "tasks", "modules", "cli"]


@pytest.mark.parametrize("folder", [*(f"zoo/{package}" for package in PACKAGES), "datamodules", "callbacks"])
def test_public_names_have_docstrings_of_more_than_a_word(folder):
    for path in sorted((ROOT / folder).rglob("*.py")):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for name, docstring in public_names(importlib.import_module(module)):
            assert len((docstring or "").split()) > 1, f"{module}.{name}: {docstring!r}"


def undescribed(cls):
    """Constructor options that no docstring of the class and its parents describes in words that stand alone."""
    text = "\n".join(inspect.cleandoc(vars(base).get("__doc__") or "") for base in cls.__mro__)
    described = set(re.findall(r"^ {4}(\w+): [^a-z]", text, re.M))
    passed_on = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [n for n, p in options(cls).items() if n not in {*described, "self"} and p.kind not in passed_on]


@pytest.mark.parametrize("path", registered())
def test_options_have_a_line_each_that_help_prints(path):
    """jsonargparse takes none from a line for two options, and one that continues the option's name means nothing."""
    assert not undescribed(load(path))


def test_one_version():
    said = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    (version,) = re.findall(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.M)
    assert str(said["version"]) == version and (zoo.__version__ == version or zoo.__version__.startswith("0+"))
    assert "## [Unreleased]" in CHANGELOG or f"## [{version}]" in CHANGELOG


def test_users_type_checkers_are_told():
    assert all((ROOT / package / "py.typed").is_file() for package in ("zoo", "datamodules", "callbacks"))


@pytest.mark.parametrize("path", [*(ROOT / ".github" / "workflows").glob("*.yml"), ROOT / ".pre-commit-config.yaml"])
def test_settings_are_yaml(path):
    assert isinstance(yaml.safe_load(Path(path).read_text()), dict)

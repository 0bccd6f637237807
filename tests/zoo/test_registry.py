import inspect

import pytest
from lightning.pytorch.cli import LightningArgumentParser

import zoo
from zoo.cli.shorthand import load
from zoo.registry import CALLBACKS, DATA, MODULES, REPORT, callback_groups, short_name


def test_every_import_path_leads_somewhere():
    paths = [entry.path for entry in MODULES.values()] + [entry.path for entry in DATA.values()]
    groups = [path for entry in MODULES.values() for path in callback_groups(entry).values()]
    assert all(callable(load(path)) for path in (*paths, *groups, REPORT))


def test_what_a_technique_needs_is_there():
    for entry in MODULES.values():
        assert entry.data in DATA and not set(entry.callbacks) & set(CALLBACKS)
    budgets = [entry.budget_on_default_data for entry in MODULES.values()]
    budgets += [entry.default_budget for entry in MODULES.values()] + [entry.default_budget for entry in DATA.values()]
    assert all(budget.startswith(("max_epochs=", "max_steps=")) for budget in budgets if budget)


def test_short_names():
    assert short_name(MODULES["gan"].path, MODULES) == "gan" and short_name("a.MyModule", MODULES) == "my"


def test_zoo_exports_every_technique_of_the_registry():
    names = {entry.path.rpartition(".")[2] for entry in MODULES.values()}
    assert {*names, "ZooModule", "load_encoder", "save_encoder", "load_vectors", "save_vectors"} == set(zoo.__all__)
    assert all(callable(getattr(zoo, name)) for name in zoo.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Nothing'; it has AdaptModule"):
        zoo.Nothing  # noqa: B018


@pytest.mark.parametrize("name", MODULES)
def test_options_that_a_constructor_passes_on_are_known_to_the_command_line(name):
    """jsonargparse reads from the source which options go on to a parent: calls that it cannot follow lose them."""
    cls, parser = load(MODULES[name].path), LightningArgumentParser()
    parser.add_class_arguments(cls, "x", fail_untyped=False)
    known = {action.dest.removeprefix("x.") for action in parser._actions}
    for base in cls.__mro__:
        parameters = inspect.signature(base.__init__).parameters.values()
        assert {p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD} - {"self"} <= known, base
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break

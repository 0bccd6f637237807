import pytest

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
    budgets = [entry.default_budget for entry in MODULES.values()] + [entry.default_budget for entry in DATA.values()]
    assert all(budget.startswith(("max_epochs=", "max_steps=")) for budget in budgets if budget)


def test_short_names():
    assert short_name(MODULES["gan"].path, MODULES) == "gan" and short_name("a.MyModule", MODULES) == "my"


def test_zoo_exports_every_technique_of_the_registry():
    names = {entry.path.rpartition(".")[2] for entry in MODULES.values()}
    assert {*names, "ZooModule", "load_encoder", "save_encoder", "load_vectors", "save_vectors"} == set(zoo.__all__)
    assert all(callable(getattr(zoo, name)) for name in zoo.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Nothing'; it has AdaptModule"):
        zoo.Nothing  # noqa: B018

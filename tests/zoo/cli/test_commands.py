from zoo.cli.commands import COMMANDS, usage
from zoo.registry import DATA, FORMATS, MODULES


def test_usage_names_all_and_its_columns_are_even():
    text = usage("zoo")
    assert all(name in text for name in (*MODULES, *DATA, *FORMATS, *COMMANDS))
    first = next(iter(MODULES))
    assert f"zoo --module {first} --help" in text and f"runs/{first}-{MODULES[first].data}/1/checkpoints" in text
    starts = [line.index(what) for what in ("modules and data", "train with", "on other data", "runs side by side")
              for line in text.splitlines() if what in line]  # fmt: skip
    assert len(set(starts)) == 1

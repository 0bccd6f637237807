"""Help of a technique: short, complete, and with examples that work."""

import re
import shlex
import subprocess
import sys

import pytest
from conftest import ROOT

from zoo.cli.help import metavar, option_help
from zoo.cli.options import Option, signature
from zoo.registry import DATA, DATA_TO_MODEL_ARGS, MODULES

LONGEST = 130
TRAINING_RUNS = {"autoencoder": (), "finetune": ()}  # whose results examples build on
EXAMPLES = [(name, example) for name, entry in MODULES.items() for example in entry.examples]


def shown(text):
    return re.findall(r"^  (--\S+)", text, re.M)


@pytest.mark.parametrize("name", MODULES)
def test_help_is_short_and_complete_and_usual_options_come_first(monkeypatch, name):
    monkeypatch.setenv("COLUMNS", "120")
    entry = MODULES[name]
    text = option_help("zoo", "fit", entry.path, DATA[entry.data].path)
    assert len(text.splitlines()) <= LONGEST and "torch.nn" not in text and "see above" not in text.lower()
    assert signature(entry.path).summary in text and text.count(f"\n  zoo --module {name}") == len(entry.examples) == 3
    own = [word.removeprefix("--module.") for word in shown(text) if word.startswith("--module.")]
    assert own[: len(entry.usual)] == list(entry.usual) and len(entry.usual) >= 3
    assert sorted(own) == sorted(set(signature(entry.path).options) - set(DATA_TO_MODEL_ARGS))
    assert {f"--data.{option}" for option in signature(DATA[entry.data].path).options} <= set(shown(text))


def test_types_and_defaults():
    assert metavar(Option("a", "int | None", "None", "")) == "INT"
    assert metavar(Option("a", "Literal['x', 'y'] | list[float]", "'x'", "")) == "x|y|[...]"
    assert metavar(Option("a", "Spec | nn.Module", "''", "")) == "SPEC"
    text = option_help("zoo", "fit", MODULES["autoencoder"].path, DATA["folder"].path)
    assert "--data.root TEXT" in text and "[required]" in text
    assert '[""]' in text and "None" not in text


def test_another_command_and_a_class_of_the_users(tmp_path, monkeypatch):
    text = option_help("zoo", "test", MODULES["pca"].path, DATA["digits"].path)
    assert "zoo test --module pca --ckpt_path runs/pca-digits/1/checkpoints/best.ckpt" in text
    (tmp_path / "own_help.py").write_text(
        "from torch import nn\nfrom zoo import SOMModule\nfrom zoo.modules.som import SOMModule as Parent\n"
        "class Mine(Parent):\n"
        '    """My map.\n\n    Args:\n        part: A part.\n    """\n'
        "    def __init__(self, part: nn.Module, **options):\n        super().__init__(**options)\n"
        "class Bare(SOMModule):\n    pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    text = option_help("zoo", "fit", "own_help.Mine", DATA["digits"].path)
    assert text.index("--module.rows") < text.index("--module.part") and "--som_map.planes" in text
    assert "My map." in text and len(text.splitlines()) <= LONGEST
    assert "--module.rows" in option_help("zoo", "fit", "own_help.Bare", DATA["digits"].path)


def test_nothing_heavy_is_imported():
    code = (
        "import sys; from zoo.cli import main; main(sys.argv[1:]); assert not {'torch', 'lightning'} & set(sys.modules)"
    )
    words = [sys.executable, "-c", code, "--module", "som", "--help"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and "--som_map.planes" in done.stdout, done.stderr


@pytest.mark.parametrize("name, example", EXAMPLES)
def test_the_options_of_examples_are_there(name, example):
    words = shlex.split(example)
    data = words[words.index("--data") + 1] if "--data" in words else MODULES[name].data
    text = option_help("zoo", "fit", MODULES[name].path, DATA[data].path)
    assert {word for word in words if word.startswith("--")} <= set(shown(text))


@pytest.mark.long
@pytest.mark.nightly
@pytest.mark.parametrize("name, example", EXAMPLES)
def test_examples_run(train, name, example):
    for earlier in TRAINING_RUNS if "runs/" in example else ():
        assert train("--module", earlier, "--trainer.max_epochs=1").returncode == 0
    words = shlex.split(example)
    budget = () if any(word.startswith("--trainer.max_") for word in words) else ("--trainer.max_epochs=1",)
    done = train("--module", name, *words, *budget)
    assert done.returncode == 0, done.stderr


def test_the_help_of_lightnings_commands_names_no_classes_of_torch(train):
    done = train("fit", "--help")
    assert done.returncode == 0 and "known subclasses" not in done.stdout and "torch.nn" not in done.stdout
    assert done.stdout.startswith("usage: ") and "--trainer.max_epochs" in done.stdout.partition("options:")[2]

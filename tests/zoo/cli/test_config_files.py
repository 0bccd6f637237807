"""Which module arguments and files mean, and names of before a renaming."""

import logging
from pathlib import Path

import pytest
import yaml

from zoo.cli import config_files
from zoo.cli.config_files import chosen_class, read, technique_of, with_present_names
from zoo.core.renamed import renamed_options
from zoo.modules.autoencoder import AutoencoderModule
from zoo.modules.pca import PCAModule
from zoo.registry import CALLBACKS, MODULES, RENAMED_CLASSES, RENAMED_GROUPS, callback_groups

FIXTURES = Path(__file__).parent / "fixtures"
DIGITS = "--data=datamodules.images.Digits"


class Mine(PCAModule):
    """Of a user, who inherits from a technique."""


def test_yaml_is_read_as_jsonargparse_reads_it(tmp_path):
    assert read("{a: 1e-5, b: 2024-01, c: 3E4, d: 1.5e3}") == {"a": 1e-5, "b": "2024-01", "c": 3e4, "d": 1500.0}
    (tmp_path / "file").write_text("a: [1, true]\n")
    assert read(str(tmp_path / "file")) == {"a": [1, True]}
    assert read("{a: " + "b" * 5000 + "}")["a"].startswith("b")
    assert read("{unfinished") == "{unfinished"


def test_the_last_class_counts(tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text(yaml.safe_dump({"model": {"class_path": MODULES["pca"].path}}))
    nested = tmp_path / "b.yaml"
    nested.write_text(yaml.safe_dump({"fit": {"model": MODULES["gan"].path}}))
    ae = MODULES["autoencoder"].path
    assert chosen_class(["fit", "--config", str(file)], "model") is PCAModule
    assert chosen_class(["fit", f"--config={file}", "--model", "AutoencoderModule"], "model") is AutoencoderModule
    assert chosen_class(["fit", f"-c={nested}"], "model").__name__ == "GANModule"
    assert chosen_class(["fit", f'--model={{"class_path": "{ae}"}}'], "model") is AutoencoderModule
    assert chosen_class(["fit", f"--model.class_path={ae}"], "model") is AutoencoderModule
    assert chosen_class(["fit", "--model", "no.such.Module"], "model") is None
    assert chosen_class(["fit"], "model") is None


def test_a_users_subclass_gets_the_callbacks_of_its_technique():
    assert technique_of(Mine) is technique_of(PCAModule) is MODULES["pca"]
    assert technique_of(dict) is None and technique_of(None) is None
    assert list(callback_groups(MODULES["pca"]))[-2:] == ["principal_components", "report"]  # it shows what they made
    assert callback_groups(None) == CALLBACKS


def test_every_name_of_before_leads_to_one_of_now():
    assert set(RENAMED_GROUPS.values()) <= set(CALLBACKS)
    now = {*CALLBACKS.values(), *(path for entry in MODULES.values() for path in entry.callbacks.values())}
    assert set(RENAMED_CLASSES.values()) <= now


@pytest.fixture
def told(caplog, monkeypatch):
    monkeypatch.setattr("zoo.core.renamed._told", set())
    monkeypatch.setattr(config_files, "_told", set())
    caplog.set_level(logging.WARNING)
    return lambda: [record.getMessage() for record in caplog.records]


def test_old_names_on_the_command_line_are_told_their_new_ones_once(told):
    arguments = ["fit", f"--model={MODULES['autoencoder'].path}", DIGITS]
    old = ["--data.crop", "1", "--data.init_args.crop=2", "--data.views=3", "--training_film.frames", "4"]
    new = ["--data.shift", "1", "--data.init_args.shift=2", "--data.augmentation_period=3"]
    groups = callback_groups(None)
    found = with_present_names([*arguments, *old], groups)
    assert found == [*arguments, *new, "--training_animation.frames", "4"]
    assert with_present_names([*arguments, *old], groups) == found
    assert told() == [
        "option 'crop' of Digits is now called 'shift'",
        "option 'views' of Digits is now called 'augmentation_period'",
        "'training_film' is now called 'training_animation'",
    ]


def test_options_that_are_gone_are_left_out_with_their_values(told):
    class Shorter(Mine):
        renamed = {"speed": "", "old": "new"}  # noqa: RUF012

    owners = {"model": Shorter}
    arguments = [
        "fit",
        "--model.speed",
        "3",
        "--model.old",
        "1",
        "--model.init_args.speed=2",
        "--x",
        "--model.speed",
        "-c",
    ]
    assert config_files._without_gone(arguments, owners) == ["fit", "--model.old", "1", "--x", "-c"]
    assert told() == ["option 'speed' of Shorter was removed", "option 'old' of Shorter is now called 'new'"]


def test_old_names_in_yaml_at_any_depth(tmp_path, told):
    old = {
        "trainer": {"callbacks": [{"class_path": "callbacks.training_film.TrainingFilm", "init_args": {"side": 2}}]},
        "data": {"class_path": "datamodules.images.Digits", "init_args": {"crop": 1, "rotate": 1e-5}},
        "som_map": {"planes": 3},
        "training_film": {"frames": 9},
    }
    (tmp_path / "old.yaml").write_text(yaml.safe_dump(old))
    found = with_present_names(["fit", "--config", str(tmp_path / "old.yaml")], callback_groups(None))
    assert found[:2] == ["fit", "--config"] and "\n" not in found[2].strip()
    assert read(found[2]) == {
        "trainer": {"callbacks": [{"class_path": RENAMED_CLASSES["callbacks.training_film.TrainingFilm"],
                                   "init_args": {"side": 2}}]},
        "data": {"class_path": "datamodules.images.Digits", "init_args": {"shift": 1, "rotate": 1e-5}},
        "training_animation": {"frames": 9},
    }  # fmt: skip
    in_parts = ["--data=datamodules.images.Digits", "--config={data: {init_args: {crop: 3}}}"]
    assert read(with_present_names(in_parts, {})[1].partition("=")[2]) == {"data": {"init_args": {"shift": 3}}}


def test_what_needs_no_change_stays_as_it_is(tmp_path):
    (tmp_path / "new.yaml").write_text("data: {class_path: datamodules.images.Digits, init_args: {shift: 1}}\n")
    arguments = [
        "fit",
        f"--config={tmp_path}/new.yaml",
        "--config",
        str(tmp_path / "new.yaml"),
        "--config",
        "{unfinished",
    ]
    assert with_present_names(arguments, callback_groups(None)) == arguments


@pytest.mark.parametrize("name", ["som", "skipgram", "distill"])
def test_a_complete_file_of_before(name, told):
    """With a group for every callback, and with options that have since been renamed."""
    file = FIXTURES / f"{name}-before-renaming.yaml"
    groups = callback_groups(MODULES[name])
    new = read(with_present_names([f"--config={file}"], groups)[0].partition("=")[2])
    assert set(new) - {"seed_everything", "trainer", "model", "data", "checkpoint", "ckpt_path", "weights_only"} <= set(
        groups
    )
    for part in ("model", "data"):
        old_names = renamed_options(config_files.find_class(new[part]["class_path"]))
        assert not set(new[part]["init_args"]) & set(old_names)
        gone = {old for old, new_name in old_names.items() if not new_name}
        assert len(new[part]["init_args"]) == len(set(read(str(file))[part]["init_args"]) - gone)

import pytest

from zoo.cli.shorthand import UsageError, expand_argv, load, option_value, options_of, resolve, take
from zoo.registry import DATA, MODULES


def test_the_last_value_of_an_option_counts():
    arguments = ["--a", "1", "x", "--a=2", "--ab=3"]
    assert take(arguments, "--a") == "2" and arguments == ["x", "--ab=3"]
    assert option_value(arguments, "--ab") == "3" and arguments == ["x", "--ab=3"]
    with pytest.raises(UsageError, match="--a needs a value"):
        take(["--a"], "--a")


def test_names_paths_and_mistakes():
    assert resolve("fashion-mnist", DATA, "data") == DATA["fashion_mnist"].path
    assert resolve("my.Module", MODULES, "module") == "my.Module"
    with pytest.raises(UsageError, match=r"unknown module 'ganz' \(did you mean 'gan'\?\); there are: autoencoder"):
        resolve("ganz", MODULES, "module")


def test_what_a_technique_is_trained_with_by_default():
    assert expand_argv(["--module", "som"])[:2] == ["fit", "--trainer.max_epochs=20"]  # its own, not the data's
    assert expand_argv(["--module", "finetune"])[-2:] == list(MODULES["finetune"].default_data_args)
    assert "--data.labelled_only=true" not in expand_argv(["--module", "finetune", "--data", "mnist"])


def test_a_checkpoints_hyperparameters_come_before_files_and_flags():
    path = MODULES["pca"].path
    checkpoint = {"zoo": {"classes": [path]}, "hyper_parameters": {"components": 3, "input_shape": [1, 8, 8], "_x": 1}}
    found = expand_argv(["fit", "--config", "a.yaml", "--model.components", "4"], checkpoint)
    assert found[1] == f'--model={{"class_path": "{path}", "init_args": {{"components": 3}}}}'
    assert found[2:] == ["--config", "a.yaml", "--model.components", "4"]
    with pytest.raises(UsageError, match="the checkpoint is of PCAModule, not of GANModule"):
        expand_argv(["--module", "gan"], checkpoint)


def test_the_classes_that_help_is_about():
    assert [load(path).__name__ for path in options_of(["--module", "skipgram"])] == ["SkipGramModule", "Corpus"]
    assert options_of(["--module", "a.B"]) == ("a.B", DATA["digits"].path)

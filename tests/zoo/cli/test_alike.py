"""Data and module as they were when a checkpoint was trained."""

import pytest
from jsonargparse import Namespace

from zoo.cli.alike import fill_in, image_options, same
from zoo.cli.shorthand import expand_argv
from zoo.registry import DATA, MODULES


def checkpoint(shape=(1, 32, 32), **said):
    return {"zoo": {"classes": [MODULES["pca"].path]}, "hyper_parameters": {"input_shape": list(shape), **said}}


@pytest.mark.parametrize(
    "normalisation, rule",
    [(None, "unit"), ({"sample_offset": 0.05}, "sample"), ({"mean": [0.4], "std": [0.2]}, "standard")],
)
def test_images_are_read_as_those_that_a_checkpoint_was_trained_on(normalisation, rule):
    found = image_options(DATA["folder"].path, checkpoint(normalisation=normalisation))
    assert found == ["--data.size=32", "--data.channels=1", f"--data.normalise={rule}"]


def test_only_options_that_data_have_and_of_images_alone():
    normalised = checkpoint((3, 8, 8), normalisation=None)
    assert image_options(DATA["digits"].path, normalised) == ["--data.normalise=unit"]
    assert image_options(DATA["noise"].path, normalised) == ["--data.shape=[3, 8, 8]"]
    assert image_options(DATA["domains"].path, normalised) == ["--data.size=8"]
    assert image_options(DATA["vectors"].path, normalised) == []
    assert image_options(DATA["folder"].path, checkpoint((13,))) == []
    assert image_options("somebodys.Images", normalised) == []  # whose options mean what they mean to him


def test_what_the_user_gives_counts_and_a_file_says_all():
    words = ["predict", "--module", "pca", "--data", "folder"]
    found = expand_argv([*words, "--data.size", "48"], checkpoint())
    assert found.index("--data.size=32") < found.index("--data.size")
    assert not any(word.startswith("--data.") for word in expand_argv([*words, "--config", "a.yaml"], checkpoint()))


def test_a_module_has_what_its_checkpoint_says_where_only_the_default_stands():
    options = Namespace(input_shape=[1, 28, 28], normalisation=None, latent_dim=3)
    model = Namespace(class_path=MODULES["autoencoder"].path, init_args=options)
    fill_in(model, {"input_shape": [1, 8, 8], "normalisation": {"sample_offset": 0.05}, "num_classes": 3})
    assert options.input_shape == [1, 8, 8] and options.normalisation == {"sample_offset": 0.05}
    assert "num_classes" not in options and options.latent_dim == 3
    options.input_shape = [3, 16, 16]
    fill_in(model, {"input_shape": [1, 8, 8]})
    assert options.input_shape == [3, 16, 16]  # the user's


def test_values_are_the_same_up_to_rounding():
    assert same({"mean": (0.1, 2)}, {"mean": [0.1 + 1e-9, 2.0]})
    assert not same({"mean": [0.1]}, {"mean": [0.2]}) and not same([1], [1, 2]) and not same(None, [1])

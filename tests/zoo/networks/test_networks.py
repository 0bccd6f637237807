import pytest
import torch
from torch import nn

from zoo.networks.spec import DECODERS, TRUNKS, build


@pytest.mark.parametrize("name", DECODERS)
@pytest.mark.parametrize("shape", [(1, 5, 5), (3, 8, 8), (1, 28, 28), (2, 33, 50), (3, 64, 17), (3, 6, 41)])
def test_decoders_give_back_the_exact_shape(name, shape):
    trunk = build(name, TRUNKS, input_shape=shape)
    decoder = build(name, DECODERS, latent_dim=3, output_shape=shape)
    assert trunk(torch.zeros(2, *shape)).shape == (2, trunk.feature_dim)
    assert decoder(torch.zeros(2, 3)).shape == (2, *shape)


def test_large_pictures_end_in_few_features():
    assert build("conv", TRUNKS, input_shape=(3, 224, 224)).feature_dim == 256 * 4 * 4


def test_options_of_a_spec_are_the_networks():
    trunk = build({"name": "mlp", "widths": [7, 6]}, TRUNKS, input_shape=(13,))
    assert [layer.out_features for layer in trunk if isinstance(layer, nn.Linear)] == [7, 6]
    assert build({"name": "conv", "stages": 1}, TRUNKS, input_shape=(1, 8, 8)).feature_dim == 32 * 4 * 4


def test_a_spec_is_not_changed():
    spec = {"name": "mlp", "widths": [7]}
    build(spec, TRUNKS, input_shape=(2,))
    assert spec == {"name": "mlp", "widths": [7]}


def test_a_module_is_taken_as_it_is():
    mine = nn.Linear(2, 3)
    assert build(mine, TRUNKS, input_shape=(2,)) is mine


@pytest.mark.parametrize(
    "spec, says",
    [
        ("conf", "did you mean 'conv'.*mlp, conv"),
        ({"widths": [3]}, "unknown network"),
        ({"name": "mlp", "width": 3}, "'mlp'.*width"),
    ],
)
def test_wrong_specs_are_explained(spec, says):
    with pytest.raises(ValueError, match=says):
        build(spec, TRUNKS, input_shape=(1, 8, 8))


def test_convolutions_of_vectors_are_refused():
    with pytest.raises(ValueError, match="use 'mlp'"):
        build("conv", TRUNKS, input_shape=(13,))

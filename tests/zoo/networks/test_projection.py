import pytest
import torch

from zoo.io.encoder import load_encoder, save_encoder
from zoo.networks.encoder import Encoder
from zoo.networks.projection import Projection


def test_begins_orthonormal_and_begins_so_again():
    layer = Projection((1, 4, 5), 6)
    layer.set(torch.rand(6, 20).double(), torch.rand(20).double())
    layer.reset_parameters()
    torch.testing.assert_close(layer.weight @ layer.weight.T, torch.eye(6), atol=1e-6, rtol=0)
    assert not layer.bias.any() and not layer.centre.any()


def test_a_mean_beyond_float32_is_subtracted_exactly():
    generator = torch.Generator().manual_seed(0)
    x = (torch.randn(50, 8, generator=generator) + 1e6).float()
    mean, weight = x.double().mean(0) + 0.01, torch.randn(3, 8, generator=generator).double()
    layer = Projection((8,), 3)
    layer.set(weight, mean)
    torch.testing.assert_close(layer(x).double(), (x.double() - mean) @ weight.T, atol=1e-5, rtol=1e-5)


def test_bytes_pass():
    layer = Projection((1, 2, 2), 2)
    x = torch.randint(0, 256, (3, 1, 2, 2), dtype=torch.uint8)
    assert torch.equal(layer(x), layer(x.float()))


@pytest.mark.parametrize("components", [0, 5])
def test_too_many_or_none(components):
    with pytest.raises(ValueError, match=f"1 to 4.*got {components}"):
        Projection((4,), components)


def test_an_encoder_of_it_is_exported(tmp_path):
    encoder = Encoder({"name": "projection", "components": 3}, (1, 2, 4))
    encoder.trunk.set(torch.rand(3, 8).double(), torch.rand(8).double())
    save_encoder(encoder, tmp_path)
    x = torch.rand(5, 1, 2, 4)
    assert torch.equal(load_encoder(tmp_path)(x), encoder(x))

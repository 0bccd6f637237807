import pytest
import torch
from torch import nn

from zoo.networks.generator import CriticHead, Generator
from zoo.networks.spec import GENERATORS, TRUNKS, build

SHAPES = [(1, 8, 8), (1, 28, 28), (3, 32, 32), (2, 37, 51), (3, 100, 100), (4, 128, 128)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", ["dcgan", "gan_resnet", "r3gan"])
def test_sizes_are_exact(name, shape):
    trunk = build({"name": name, "width": 8}, TRUNKS, input_shape=shape)
    assert trunk(torch.rand(2, *shape)).shape == (2, trunk.feature_dim)
    network = build({"name": name, "width": 8}, GENERATORS, latent_dim=5, output_shape=shape)
    assert network.latent_shape == (5,) and network(torch.randn(2, 5)).shape == (2, *shape)


@pytest.mark.parametrize("shape", [(3, 100, 100), (1, 29, 31)])
def test_noise_pictures_to_pictures(shape):
    network = build({"name": "image", "width": 8}, GENERATORS, latent_dim=5, output_shape=shape)
    assert network.latent_shape == shape and network(torch.rand(2, *shape)).shape == (2, *shape)


@pytest.mark.parametrize("name", ["dcgan", "gan_resnet", "r3gan"])
def test_critics_see_every_picture_alone(name):
    trunk = build({"name": name, "width": 8}, TRUNKS, input_shape=(1, 28, 28)).train()
    x = torch.rand(4, 1, 28, 28)
    torch.testing.assert_close(trunk(x)[:1], trunk(x[:1]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 128, 128)])
@pytest.mark.parametrize("name", ["gan_resnet", "r3gan"])
def test_generators_begin_with_another_picture_for_every_noise(name, shape):
    """With PyTorch's own weights they differ less, and training collapses."""
    torch.manual_seed(0)
    network = build({"name": name, "width": 16}, GENERATORS, latent_dim=64, output_shape=shape)
    with torch.no_grad():
        pictures = network(torch.randn(64, 64))
    assert 0.7 < pictures.std(0).mean() < 5


def test_the_default_pair_is_small():
    """At most a million parameters each for 28 x 28."""
    trunk = build("dcgan", TRUNKS, input_shape=(1, 28, 28))
    network = build("dcgan", GENERATORS, latent_dim=64, output_shape=(1, 28, 28))
    assert all(sum(p.numel() for p in net.parameters()) <= 1_000_000 for net in (trunk, network))


@pytest.mark.parametrize("name", ["dcgan", "gan_resnet"])
def test_spectral_norm_limits_every_layer(name):
    trunk = build({"name": name, "width": 8, "spectral_norm": True}, TRUNKS, input_shape=(1, 28, 28)).train()
    for _ in range(60):
        trunk(torch.rand(2, 1, 28, 28))
    layers = [layer for layer in trunk.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    largest = [torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item() for layer in layers]
    assert largest == pytest.approx([1] * len(layers), rel=0.05)


def test_sizes_that_cannot_be_made_are_named():
    with pytest.raises(ValueError, match="sides of 4 to 256; got 3 x 40"):
        build("dcgan", TRUNKS, input_shape=(1, 3, 40))
    with pytest.raises(ValueError, match="norm must be one of batch, group, none"):
        build({"name": "dcgan", "norm": "layer"}, GENERATORS, latent_dim=5, output_shape=(1, 28, 28))


def test_a_generator_stays_between_black_and_white():
    normalisation = {"mean": [0.5, 0.2, 0.1], "std": [0.5, 0.25, 0.1]}
    generator = Generator("dcgan", 5, (3, 16, 16), normalisation=normalisation)
    pictures = generator(100 * torch.randn(64, 5))
    mean, std = (torch.tensor(normalisation[key]).view(3, 1, 1) for key in ("mean", "std"))
    pixels = pictures * std + mean
    assert pixels.min() >= -1e-6 and pixels.max() <= 1 + 1e-6 and pixels.min() < 0.05 and pixels.max() > 0.95


def test_classes_change_pictures_and_logits():
    generator = Generator("dcgan", 5, (1, 16, 16), num_classes=3).eval()
    z = torch.randn(1, 5).repeat(3, 1)
    first, second, third = generator(z, torch.arange(3))
    assert not torch.equal(first, second) and not torch.equal(second, third)
    head = CriticHead(4, num_classes=3)
    nn.init.normal_(head.classes.weight)
    features, labels = torch.randn(3, 4), torch.tensor([2, 0, 1])
    expected = head.linear(features).squeeze(1) + (head.classes.weight[labels] * features).sum(1)
    torch.testing.assert_close(head(features, labels), expected)
    with pytest.raises(ValueError, match="cannot be conditional"):
        Generator("image", 5, (1, 16, 16), num_classes=3)

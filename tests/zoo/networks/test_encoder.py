import pytest
import torch
from torch import nn
from torchvision.transforms.v2 import functional as tv

from zoo.networks.encoder import Encoder


def test_features_of_a_users_trunk_are_measured_without_touching_it():
    trunk = nn.Sequential(nn.Flatten(), nn.Linear(12, 5), nn.BatchNorm1d(5))
    before = {k: v.clone() for k, v in trunk.state_dict().items()}
    encoder = Encoder(trunk, (3, 2, 2), output_dim=4)
    assert trunk.training and all(torch.equal(v, before[k]) for k, v in trunk.state_dict().items())
    assert encoder.feature_dim == 5 and encoder(torch.zeros(6, 3, 2, 2)).shape == (6, 4)


def test_without_a_head_the_features_are_left_alone():
    encoder = Encoder("mlp", (3,))
    x = torch.rand(2, 3)
    assert torch.equal(encoder(x), encoder.trunk(x))


def test_a_trunk_must_give_vectors():
    with pytest.raises(ValueError, match=r"\(1, 4, 6, 6\)"):
        Encoder(nn.Conv2d(1, 4, 3), (1, 8, 8))


def test_preprocessing_is_torchvisions():
    normalisation = {"mean": [0.1, 0.2, 0.3], "std": [0.5, 0.6, 0.7]}
    encoder = Encoder("mlp", (3, 4, 4), normalisation=normalisation)
    raw = torch.randint(0, 256, (2, 3, 4, 4), dtype=torch.uint8)
    expected = tv.normalize(tv.to_dtype(raw, torch.float32, scale=True), **normalisation)
    torch.testing.assert_close(encoder.preprocess(raw), expected)
    torch.testing.assert_close(encoder.preprocess(raw / 255), expected)


@pytest.mark.parametrize("spec", ["conv", "dcgan", "gan_resnet"])
def test_unpooled_features_are_what_is_flattened(spec):
    encoder, x = Encoder(spec, (1, 8, 8)).eval(), torch.rand(2, 1, 8, 8)
    maps = encoder.forward_features(x)
    assert maps.ndim == 4
    torch.testing.assert_close(maps.flatten(1), encoder(x))


@pytest.mark.parametrize(
    ("arch", "shape"), [("resnet18", (512, 1, 1)), ("mobilenet_v2", (1280, 1, 1)), ("vit_b_32", (2, 768))]
)
def test_unpooled_features_of_torchvision(arch, shape):
    side = 32 if arch != "vit_b_32" else 224
    encoder, x = Encoder(f"torchvision:{arch}", (1, side, side)).eval(), torch.rand(2, 1, side, side)
    with torch.no_grad():
        found, pooled = encoder.forward_features(x), encoder(x)
    if arch == "vit_b_32":
        assert found.shape == (2, 50, 768)
        torch.testing.assert_close(found[:, 0], pooled)
    else:
        assert found.shape[1:] == shape
        torch.testing.assert_close(found.mean((2, 3)), pooled, rtol=1e-4, atol=1e-5)


def test_unpooled_features_of_timm():
    pytest.importorskip("timm")
    encoder, x = Encoder("timm:resnet18d", (3, 32, 32)).eval(), torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(encoder.forward_features(x).mean((2, 3)), encoder(x), rtol=1e-4, atol=1e-5)


def test_a_network_without_unpooled_features_says_so():
    with pytest.raises(ValueError, match="network 'mlp' has no unpooled features"):
        Encoder("mlp", (1, 8, 8)).forward_features(torch.rand(1, 1, 8, 8))

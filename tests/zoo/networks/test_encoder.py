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

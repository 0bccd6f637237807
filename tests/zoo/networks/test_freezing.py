import copy

import torch
from torch import nn

from zoo.networks.encoder import Encoder
from zoo.networks.freezing import StartWeights, configure_trainable, drop_gradients, evaluating, frozen_stages


def encoder():
    torch.manual_seed(0)
    return Encoder({"name": "conv", "width": 8, "norm": "batch"}, (1, 8, 8))


def trainable(network):
    return {name for name, p in network.named_parameters() if p.requires_grad}


def test_what_has_gradients():
    everything = trainable(encoder())
    frozen, norms, low_rank = encoder(), encoder(), encoder()
    configure_trainable(frozen, True, False, 0)
    assert not trainable(frozen)
    configure_trainable(norms, False, True, 0)
    assert everything - trainable(norms) == {f"trunk.{i}.1.{p}" for i in (0, 1) for p in ("weight", "bias")}
    configure_trainable(low_rank, False, False, 2)
    assert all(name.endswith((".up", ".down")) for name in trainable(low_rank))


def test_stages_freeze_from_the_bottom():
    trunk = encoder().trunk
    assert frozen_stages(trunk, 0) == list(trunk)[:2]
    assert frozen_stages(trunk, 1) == [trunk[0]] and frozen_stages(trunk, 5) == []


def test_dropped_gradients_and_modes():
    layer = nn.Linear(2, 2)
    layer(torch.ones(1, 2)).sum().backward()
    drop_gradients([layer])
    assert layer.weight.grad is None
    with evaluating(layer):
        assert not layer.training
    assert layer.training


def test_the_start_stays_and_is_returned_to():
    network, head = encoder(), nn.Linear(128, 2)
    before = copy.deepcopy(network.state_dict())
    start = StartWeights(network, head)
    assert not trainable(start) and start.distance(network) == 0
    with torch.no_grad():
        for p in network.parameters():
            p.add_(2.0)
    count = sum(p.numel() for p in network.parameters())
    torch.testing.assert_close(start.distance(network), torch.tensor(4.0 * count))
    start.interpolate(network, head, 0.25)
    weight = "trunk.0.0.weight"
    torch.testing.assert_close(network.state_dict()[weight], before[weight] + 0.5)

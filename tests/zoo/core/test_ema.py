import torch
from torch import nn

from zoo.core.ema import update_ema


def test_parameters_follow_and_buffers_are_copied():
    average, network = nn.BatchNorm1d(3), nn.BatchNorm1d(3)
    nn.init.constant_(network.weight, 3.0)
    network.running_mean.fill_(7.0)
    update_ema(average, network, 0.75)
    torch.testing.assert_close(average.weight.detach(), torch.full((3,), 0.75 * 1 + 0.25 * 3))
    assert torch.equal(average.running_mean, network.running_mean)

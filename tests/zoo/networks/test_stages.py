import pytest
from torch import nn
from torchvision.models import resnet18, vit_b_16

from zoo.networks.encoder import Encoder
from zoo.networks.stages import batch_norms, staged_parameters, stages


def test_stages_of_our_own_and_of_others():
    assert [type(s).__name__ for s in stages(Encoder("conv", (1, 28, 28)))] == ["Sequential"] * 3
    with_head = stages(Encoder("conv", (1, 28, 28), 10))
    assert isinstance(with_head[-1], nn.Linear) and len(with_head) > 2
    network = resnet18()
    network.fc = nn.Identity()
    assert stages(nn.Sequential(network)) == [
        network.conv1,
        network.bn1,
        *(getattr(network, f"layer{i}") for i in "1234"),
    ]


def test_a_transformers_blocks_are_stages():
    network = vit_b_16()
    network.heads = nn.Identity()
    blocks = [type(stage).__name__ for stage in stages(network)]
    assert blocks.count("EncoderBlock") == 12 and blocks[0] == "Conv2d"


@pytest.mark.parametrize("make", [resnet18, vit_b_16, lambda: Encoder("mlp", (5,), 3), lambda: nn.Linear(2, 2)])
def test_every_trainable_parameter_is_in_one_stage(make):
    network = make()
    frozen = next(iter(network.parameters())).requires_grad_(False)
    held = [id(p) for stage in staged_parameters(network) for p in stage]
    assert len(held) == len(set(held))
    assert set(held) == {id(p) for p in network.parameters()} - {id(frozen)}


def test_batch_norms_are_found():
    assert len(batch_norms(resnet18())) == 20
    assert not batch_norms(nn.GroupNorm(1, 2))

import pytest
import torch

from zoo.networks.projector import Centre, Projector, PrototypeProjector, WholeBatchNorm

TWO = """
import os
import torch
from zoo.networks.projector import Projector
rank = int(os.environ["LOCAL_RANK"])
torch.manual_seed(0)
alone = Projector(5, [7, 6, 4], last_norm=True).double()
torch.manual_seed(0)
mine = Projector(5, [7, 6, 4], last_norm=True).double()
whole = torch.randn(12, 5).double() * 3 + 1
weight = torch.randn(12, 4).double()  # of the loss: one number for the whole batch
expected_output = alone(whole)
(expected_output * weight).sum().backward()
torch.distributed.init_process_group("gloo", rank=rank, world_size=2)
from zoo.core.distributed import gather_with_gradient
own = slice(6 * rank, 6 * rank + 6)
output = gather_with_gradient(mine(whole[own]))
torch.testing.assert_close(output, expected_output)
(output * weight).sum().backward()
for (name, p), q in zip(mine.named_parameters(), alone.parameters()):
    torch.distributed.all_reduce(p.grad)
    torch.testing.assert_close(p.grad / 2, q.grad, msg=name)  # DDP's mean
for (name, b), c in zip(mine.named_buffers(), alone.buffers()):
    torch.testing.assert_close(b, c, msg=name)
torch.distributed.destroy_process_group()
"""


@pytest.mark.long
def test_two_processes_norm_and_gather_as_one_does(two_processes):
    two_processes(TWO)


def test_alone_it_is_torchs_batch_norm():
    torch.manual_seed(0)
    mine, theirs = WholeBatchNorm(4), torch.nn.BatchNorm1d(4)
    for x in (torch.randn(6, 4), torch.randn(5, 4)):
        torch.testing.assert_close(mine(x), theirs(x), rtol=0, atol=0)
    torch.testing.assert_close(mine.running_var, theirs.running_var, rtol=0, atol=0)
    torch.testing.assert_close(mine.eval()(x), theirs.eval()(x), rtol=0, atol=0)


def test_layers_of_a_projector():
    kinds = [type(layer).__name__ for layer in Projector(5, [8, 3], last_norm=True).layers]
    assert kinds == ["Linear", "WholeBatchNorm", "ReLU", "Linear", "WholeBatchNorm"]
    assert [type(layer).__name__ for layer in Projector(5, [3]).layers] == ["Linear"]
    output = Projector(5, [8, 3], last_norm=True)(torch.randn(50, 5))
    torch.testing.assert_close(output.mean(0), torch.zeros(3), rtol=0, atol=1e-5)


def test_logits_of_prototypes_are_cosines():
    head = PrototypeProjector(5, [8, 4], 30)
    x = torch.randn(6, 5)
    logits = head(x)
    assert logits.shape == (6, 30) and logits.abs().max() <= 1 + 1e-6
    features = head.layers(x)
    torch.testing.assert_close(
        logits[2, 7], torch.nn.functional.cosine_similarity(features[2], head.prototypes[7], dim=0)
    )


def test_averages_keep_their_bits_and_are_not_trained():
    average = Projector(5, [8, 3]).average()
    assert not any(p.requires_grad for p in average.parameters())
    assert {p.dtype for p in average.to(torch.bfloat16).parameters()} == {torch.float32}
    assert {p.dtype for p in Projector(5, [8, 3]).to(torch.bfloat16).parameters()} == {torch.bfloat16}
    assert average(torch.ones(2, 5, dtype=torch.bfloat16)).dtype == torch.float32


def test_the_centre_is_a_moving_average():
    centre, targets = Centre(3), torch.randn(2, 5, 3)
    for _ in range(2):
        centre.update(targets)
    torch.testing.assert_close(centre.mean, 0.19 * targets.mean((0, 1)))
    assert centre.to(torch.bfloat16).mean.dtype == torch.float32

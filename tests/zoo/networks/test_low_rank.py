import pytest
import torch
from torch import nn

from zoo.networks.encoder import Encoder
from zoo.networks.low_rank import add_low_rank, merged


def test_nothing_changes_at_first_and_then_by_a_low_rank():
    torch.manual_seed(0)
    encoder, x = Encoder("conv", (1, 16, 16), 6), torch.randn(3, 1, 16, 16)
    before, state = encoder(x), {k: v.clone() for k, v in encoder.state_dict().items()}
    assert add_low_rank(encoder, 2) == 3
    torch.testing.assert_close(encoder(x), before)
    trainable = [p for p in encoder.parameters() if p.requires_grad]
    assert len(trainable) == 6
    for p in trainable:
        nn.init.normal_(p)
    after = merged(encoder.state_dict())
    assert after.keys() == state.keys()
    ranks = [
        torch.linalg.matrix_rank((after[k] - state[k]).flatten(1)).item()
        for k in state
        if not torch.equal(after[k], state[k])
    ]
    assert ranks == [2, 2, 2]
    plain = Encoder("conv", (1, 16, 16), 6)
    plain.load_state_dict(after)
    torch.testing.assert_close(plain(x), encoder(x))


def test_a_rank_that_nothing_exceeds_is_refused():
    with pytest.raises(ValueError, match="lora_rank 9"):
        add_low_rank(nn.Linear(9, 9), 9)


def test_a_spectral_norm_is_no_change_of_low_rank():
    """A critic's encoder that has one was not exported."""
    state = Encoder({"name": "dcgan", "spectral_norm": True}, (1, 8, 8)).state_dict()
    assert merged(state).keys() == state.keys() and any("parametrizations" in name for name in state)

import pytest
import torch
from torch.utils.data import DistributedSampler

from datamodules.loader import ShardedSampler, StreamLoader, TensorLoader


def loader(n=20, batch_size=6, **sampling):
    data = torch.arange(n)
    return TensorLoader({"input": data}, batch_size, ShardedSampler(data, **sampling))


class Numbers(list):
    """A source that reads its indices."""

    def read(self, indices):
        return {"input": torch.tensor(indices), "index": torch.tensor(indices)}


def stream(n=20, batch_size=6, workers=0, **sampling):
    numbers = Numbers(range(n))
    return StreamLoader(numbers, batch_size, ShardedSampler(numbers, **sampling), workers)


def order(batches):
    return torch.cat([batch["input"] for batch in batches]).tolist()


def test_shuffling_is_a_seeded_permutation_of_each_epoch():
    shuffled = loader(shuffle=True, seed=3)
    for epoch in (0, 1):
        shuffled.sampler.set_epoch(epoch)
        assert order(shuffled) == torch.randperm(20, generator=torch.Generator().manual_seed(3 + epoch)).tolist()


def test_shards_are_those_of_torchs_own_sampler():
    for n in (20, 7, 2):
        for rank in range(3):
            theirs = DistributedSampler(range(n), num_replicas=3, rank=rank, shuffle=False)
            assert ShardedSampler(range(n), rank, 3).indices().tolist() == list(theirs)


def test_shards_part_the_epoch():
    parts = [loader(21, shuffle=True, rank=r, world_size=3) for r in range(3)]
    assert sorted(i for part in parts for i in order(part)) == list(range(21))


@pytest.mark.parametrize("n, sizes", [(13, [6, 4, 3]), (12, [6, 6]), (7, [4, 3]), (2, [2])])
def test_no_small_batch_is_left_for_the_end(n, sizes):
    """One sample's gradient would move Adam as far as a whole batch's."""
    for batches in (loader(n, 6, shuffle=True), stream(n, 6, shuffle=True)):
        assert [len(batch["input"]) for batch in batches] == sizes
        assert len(batches) == len(sizes)


def test_goes_on_in_the_middle_of_an_epoch():
    whole = order(loader(shuffle=True))
    first = loader(shuffle=True)
    batches = iter(first)
    seen = order([next(batches), next(batches)])
    second = loader(shuffle=True)
    second.load_state_dict(first.state_dict())
    assert seen + order(second) == whole
    assert order(second) == whole  # only the interrupted epoch is short


def test_state_at_the_end_of_an_epoch_starts_a_whole_one():
    first = loader()
    list(first)
    second = loader()
    second.load_state_dict(first.state_dict())
    assert len(order(second)) == 20


def test_every_batch_has_its_own_repeatable_seed():
    seeds = [batch["seed"] for batch in loader(shuffle=True)]
    other_rank = [batch["seed"] for batch in loader(shuffle=True, rank=1, world_size=2)]
    assert seeds == [batch["seed"] for batch in loader(shuffle=True)]
    assert len({*seeds, *other_rank}) == len(seeds) + len(other_rank)


def test_streamed_batches_are_those_in_memory():
    reference = list(loader(shuffle=True, seed=5))
    for workers in (0, 2):
        streamed = stream(workers=workers, shuffle=True, seed=5)
        batches = list(streamed)
        assert len(streamed) == len(reference) == len(batches)
        for batch, expected in zip(batches, reference, strict=True):
            assert torch.equal(batch["input"], expected["input"]) and batch["seed"] == expected["seed"]


def test_a_stream_goes_on_in_the_middle_of_an_epoch():
    first, second = (stream(shuffle=True) for _ in range(2))
    batches = iter(first)
    seen = order([next(batches), next(batches)])
    second.load_state_dict(first.state_dict())
    assert seen + order(second) == order(loader(shuffle=True))


@pytest.mark.parametrize("make", [loader, stream])
def test_batches_say_which_samples_they_hold(make):
    """The samples here are their own places."""
    for batch in make(shuffle=True, rank=1, world_size=3):
        assert torch.equal(batch["index"], batch["input"])


def test_augmentation_comes_again():
    def seen(epoch, period):
        numbers = loader(shuffle=True, period=period)
        numbers.sampler.set_epoch(epoch)
        return [(batch["input"].tolist(), batch["seed"]) for batch in numbers]

    assert seen(5, 3) == seen(2, 3) == seen(2, None) != seen(5, None)

import torch
from scipy import stats

from zoo.functional.randomness import counter_based_uniform, seed_generator, widest_float_dtype

MASK = 2**64 - 1


def splitmix64(state):
    """The generator as published, in whole numbers."""
    while True:
        state = (state + 0x9E3779B97F4A7C15) & MASK
        z = state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        yield z ^ (z >> 31)


def test_reference_gives_the_published_numbers():
    """Of the seed 1234567, as listed at rosettacode.org/wiki/Pseudo-random_numbers/Splitmix64."""
    numbers = splitmix64(1234567)
    assert [next(numbers) for _ in range(3)] == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_counted_numbers_are_splitmix64s():
    for start in (0, 1234567, 2**63 - 1, -(2**63), -1):
        numbers = splitmix64(start & MASK)
        expected = [((next(numbers) >> 12) + 0.5) / 2**52 for _ in range(1000)]
        assert counter_based_uniform(start, torch.arange(1000)).tolist() == expected


def test_far_places_and_order():
    start, far = 99, 2**50
    there = counter_based_uniform(start, torch.tensor([far + 2, far, 0]))
    jumped = splitmix64((start + far * 0x9E3779B97F4A7C15) & MASK)
    expected = [((next(jumped) >> 12) + 0.5) / 2**52 for _ in range(3)]
    assert there.tolist()[:2] == [expected[2], expected[0]]
    assert there[2] == counter_based_uniform(start, torch.zeros((), dtype=torch.long))


def test_numbers_are_uniform_and_their_neighbours_unrelated():
    u = counter_based_uniform(7, torch.arange(100_000).view(100, 1000))
    assert u.shape == (100, 1000) and u.dtype == widest_float_dtype(u.device) == torch.float64
    assert stats.kstest(u.flatten(), "uniform").pvalue > 1e-3
    for other in (u.roll(1), u.roll(1000), counter_based_uniform(8, torch.arange(100_000).view(100, 1000))):
        assert abs(torch.corrcoef(torch.stack([u.flatten(), other.flatten()]))[0, 1]) < 5 / 100_000**0.5


def test_seeding_by_place_is_repeatable():
    drawn = []
    for place in ((1, 2), (1, 3), (1, 2)):
        seed_generator(torch.device("cpu"), *place)
        drawn.append(torch.rand(4))
    assert torch.equal(drawn[0], drawn[2]) and not torch.equal(drawn[0], drawn[1])

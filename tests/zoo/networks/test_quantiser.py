import torch
from sklearn.cluster import KMeans

from zoo.networks.quantiser import VectorQuantiser


def clusters():
    generator = torch.Generator().manual_seed(0)
    centres = 5 * torch.randn(8, 3, generator=generator)
    return centres[torch.randint(8, (4000,), generator=generator)] + 0.1 * torch.randn(4000, 3, generator=generator)


def test_codes_come_to_the_clusters():
    torch.manual_seed(0)
    z, quantiser = clusters(), VectorQuantiser(32, 3, decay=0.9)
    for _ in range(100):
        for batch in z.split(500):
            quantiser(batch)
    quantised, _ = quantiser.eval()(z)
    best = KMeans(8, n_init=5, random_state=0).fit(z.numpy()).inertia_ / len(z)
    assert (quantised - z).square().sum(1).mean() <= 1.05 * best


def test_a_code_is_the_moving_average_of_its_vectors():
    quantiser = VectorQuantiser(2, 1, decay=0.5)
    quantiser.codebook.copy_(torch.tensor([[0.0], [10.0]]))
    quantiser.sums.copy_(torch.tensor([[0.0], [20.0]]))
    quantiser.counts.copy_(torch.tensor([2.0, 2.0]))
    quantised, indices = quantiser(torch.tensor([[1.0], [3.0], [9.0]]))
    assert indices.tolist() == [0, 0, 1] and quantised.squeeze(1).tolist() == [0, 0, 10]
    # counts (2 + 2) / 2 and (2 + 1) / 2; sums (0 + 4) / 2 and (20 + 9) / 2
    torch.testing.assert_close(quantiser.codebook.squeeze(1), torch.tensor([2.0 / 2.0, 14.5 / 1.5]))


def test_nothing_moves_in_evaluation():
    quantiser = VectorQuantiser(4, 2)
    quantiser(torch.randn(20, 2))
    before = {name: value.clone() for name, value in quantiser.eval().state_dict().items()}
    quantiser(torch.randn(20, 2))
    assert all(torch.equal(value, before[name]) for name, value in quantiser.state_dict().items())

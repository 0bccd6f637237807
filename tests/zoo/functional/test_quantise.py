import torch

from zoo.functional.quantise import code_statistics, commitment, nearest_code, perplexity, straight_through


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_nearest_by_all_distances():
    z, codebook = normal(200, 5), normal(30, 5, seed=1)
    assert torch.equal(nearest_code(z, codebook), torch.cdist(z.double(), codebook.double()).argmin(1))


def test_value_of_the_code_gradient_of_the_vector():
    z, code = normal(4, 3).requires_grad_(), normal(4, 3, seed=1).requires_grad_()
    out = straight_through(z, code)
    torch.testing.assert_close(out, code)
    out.square().sum().backward()
    torch.testing.assert_close(z.grad, 2 * code.detach())
    assert code.grad is None


def test_statistics_and_perplexity():
    z, indices = normal(6, 2), torch.tensor([0, 2, 2, 0, 2, 0])
    counts, sums = code_statistics(z, indices, 4)
    assert counts.tolist() == [3, 0, 3, 0]
    torch.testing.assert_close(sums[2], z[[1, 2, 4]].sum(0))
    torch.testing.assert_close(perplexity(counts), torch.tensor(2.0))


def test_commitment_moves_the_vectors_alone():
    z, code = normal(4, 3).requires_grad_(), normal(4, 3, seed=1).requires_grad_()
    commitment(z, code).backward()
    torch.testing.assert_close(z.grad, 2 * (z - code).detach() / 12)
    assert code.grad is None

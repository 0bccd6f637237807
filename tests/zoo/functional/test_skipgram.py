import pytest
import torch

from zoo.functional.skipgram import (
    BlockLoss,
    block_loss,
    cut_blocks,
    group,
    noise_pool,
    pair_weights,
    take_rows,
    window_weights,
)


def pairs_of(tokens, size, window):
    """All pairs that the blocks train, with their weights, as the words' places."""
    rows, length = tokens.shape
    places = torch.arange(rows * length).view(rows, length).masked_fill(tokens < 0, -1)
    surroundings, sentences = cut_blocks(places.masked_fill(tokens < 0, -1), size, window)
    _, sentences = cut_blocks(tokens, size, window)
    weights = pair_weights(sentences, window_weights(size, window))
    found = {}
    for block, centre, context in weights.nonzero().tolist():
        pair = surroundings[block, window + centre].item(), surroundings[block, context].item()
        assert pair not in found
        found[pair] = weights[block, centre, context].item()
    return found


@pytest.mark.parametrize("size, window", [(4, 2), (3, 5), (8, 1)])
def test_blocks_have_each_pair_of_a_sentence_once(size, window):
    tokens = torch.tensor([[5, 6, 7, -1, 8, 9, 5, 5, 4, 3, 2], [1, -1, -1, 2, 3, 4, -1, 5, 6, 7, -1]])
    expected = {}
    for row, words in enumerate(tokens.tolist()):
        for i, j in ((i, j) for i in range(11) for j in range(11)):
            between = words[min(i, j) : max(i, j) + 1]
            if i != j and abs(i - j) <= window and -1 not in between:
                expected[11 * row + i, 11 * row + j] = (window + 1 - abs(i - j)) / window
    assert pairs_of(tokens, size, window) == pytest.approx(expected)


def test_a_window_drawn_by_chance_has_these_weights_in_the_mean():
    widths = torch.randint(1, 6, (200_000,), generator=torch.Generator().manual_seed(0))
    for distance in range(1, 6):
        share = (widths >= distance).double().mean().item()
        assert window_weights(1, 5)[0, 5 + distance].item() == pytest.approx(share, abs=0.005)


def test_noise_follows_the_power_of_the_counts():
    counts = torch.tensor([1000, 100, 10, 1])
    pool = noise_pool(counts, 0.75, 100_000, torch.Generator().manual_seed(0))
    expected = counts.double() ** 0.75 / (counts.double() ** 0.75).sum()
    torch.testing.assert_close(torch.bincount(pool) / 100_000, expected, atol=2e-5, rtol=0, check_dtype=False)
    first = torch.bincount(pool[:20_000], minlength=4) / 20_000
    torch.testing.assert_close(first, expected, atol=0.01, rtol=0, check_dtype=False)


def test_groups_are_those_of_unique():
    ids = torch.tensor([7, 3, 7, 0, 3, 7], dtype=torch.int32)
    found = group(ids)
    assert found.ids.tolist() == [0, 3, 7] and found.ids[found.inverse].tolist() == ids.tolist()
    assert found.order.tolist() == [3, 1, 4, 0, 2, 5] and found.starts.tolist() == [0, 1, 3]


def random_blocks(mixed, blocks=300, size=32, real=7, noise=5, dim=20):
    """More words than one tile has."""
    generator = torch.Generator().manual_seed(0)
    seen = real if mixed else size
    ids = torch.randint(0, 50, (blocks, seen), generator=generator)
    targets = torch.randint(0, 60, (blocks, real + noise), generator=generator)
    mix = torch.rand(blocks, size, seen, generator=generator) if mixed else None
    weights = torch.rand(blocks, size, real + noise, generator=generator)
    return ids, targets, mix, weights, real, torch.randn(60, dim, generator=generator)


@pytest.mark.parametrize("mixed", [False, True])
def test_gradients_are_those_of_autograd(mixed):
    ids, targets, mix, weights, real, table = random_blocks(mixed)
    first, second = (torch.nn.Embedding.from_pretrained(table * scale, freeze=False, sparse=True) for scale in (0.5, 1))
    into, out = group(ids.flatten()), group(targets.flatten())
    fast = BlockLoss.apply(take_rows(first, into.ids), take_rows(second, out.ids), into, out, mix, weights, real)
    (3 * fast).backward()
    slow = [table.clone().double().mul_(scale).requires_grad_() for scale in (0.5, 1)]
    hidden = slow[0][ids] if mix is None else mix.double() @ slow[0][ids]
    reference = block_loss(hidden, slow[1][targets], weights.double(), real)
    (3 * reference).backward()
    for quick, exact in zip((first, second), slow, strict=True):
        scale = exact.grad.abs().max()
        torch.testing.assert_close(quick.weight.grad.to_dense().double() / scale, exact.grad / scale, atol=1e-5, rtol=0)
    tables = first.weight.detach(), second.weight.detach()
    value = BlockLoss.apply(*tables, *whole(ids, targets), mix, weights, real)
    torch.testing.assert_close(value.double(), reference.detach(), rtol=1e-5, atol=0)


def whole(ids, targets):
    """Groups over tables that are not cut down to the batch's words."""
    for which in (ids, targets):
        found = group(which.flatten())
        yield found._replace(inverse=which.flatten())


def test_while_training_the_value_is_near_and_for_few_words_exact():
    ids, targets, mix, weights, real, table = random_blocks(False)
    exact = block_loss(table[ids], table[targets], weights, real)
    rows = table.clone().requires_grad_()
    estimate = BlockLoss.apply(rows, rows, *whole(ids, targets), mix, weights, real)
    assert estimate.item() == pytest.approx(exact.item(), rel=0.1)
    few = slice(0, 100)
    exact = block_loss(table[ids[few]], table[targets[few]], weights[few], real)
    value = BlockLoss.apply(rows, rows, *whole(ids[few], targets[few]), mix, weights[few], real)
    torch.testing.assert_close(value.detach(), exact, rtol=1e-5, atol=0)


def test_only_touched_rows_have_a_gradient_and_a_dense_table_agrees():
    sparse, dense = (torch.nn.Embedding(9, 4, sparse=flag) for flag in (True, False))
    dense.load_state_dict(sparse.state_dict())
    for table in (sparse, dense):
        take_rows(table, torch.tensor([2, 5])).square().sum().backward()
    assert sparse.weight.grad.is_sparse and sparse.weight.grad._indices().tolist() == [[2, 5]]
    torch.testing.assert_close(sparse.weight.grad.to_dense(), dense.weight.grad)

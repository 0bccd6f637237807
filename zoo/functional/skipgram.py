"""Word vectors by negative sampling, as products of matrices: pure functions of token ids and vectors.

A text is cut into blocks of S neighbouring words. Within a block every word meets every word of the block and of the
W words on either side, R in all, in one matrix product; a band of weights picks the pairs that are within the window.
The K negative samples of a block are shared by its S words, so that they, too, are one product.

Token ids are whole numbers from 0; -1 stands between sentences and fills up, and is never part of a pair.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


def window_weights(size: int, window: int, dynamic: bool = True) -> Tensor:
    """The weight of each pair of a block, (S, S + 2W): row i is the block's word i, column j the word at i + j - W.

    word2vec draws every word's window from 1 to W, so that a word at distance o takes part with the probability
    (W - o + 1) / W. Here each pair takes part with that weight: the same in expectation, and without the noise.

    Args:
        size: S, words in a block.
        window: W, words on either side.
        dynamic: Nearer words weigh more, as in word2vec; otherwise all pairs within the window weigh 1.

    >>> window_weights(1, 2)
    tensor([[0.5000, 1.0000, 0.0000, 1.0000, 0.5000]])
    """
    distance = (torch.arange(size + 2 * window) - window - torch.arange(size).unsqueeze(1)).abs()
    weights = ((window + 1 - distance) / window).clamp(0, 1)
    weights = weights if dynamic else (weights > 0).float()
    return weights.masked_fill(distance == 0, 0)


def cut_blocks(tokens: Tensor, size: int, window: int) -> tuple[Tensor, Tensor]:
    """Cut rows of text into blocks with their surroundings.

    Args:
        tokens: Ids (B, L).
        size: S, words in a block.
        window: W, words on either side; a row's words do not see those of other rows.

    Returns:
        The blocks' words and surroundings, (n, S + 2W) ids with n = B * ceil(L / S), of which the words themselves
        are ``[:, W : W + S]``; and the number of the sentence each is in, -1 for what is no word.
    """
    fill = -tokens.shape[1] % size
    padded = F.pad(tokens, (window, window + fill), value=-1)
    gaps = padded < 0
    sentences = gaps.cumsum(1, dtype=torch.int32).masked_fill_(gaps, -1)
    return tuple(t.unfold(1, size + 2 * window, size).flatten(0, 1) for t in (padded, sentences))  # type: ignore[return-value]


def pair_weights(sentences: Tensor, band: Tensor) -> Tensor:
    """``window_weights`` for each block, 0 between sentences: (n, S + 2W) and (S, S + 2W) to (n, S, S + 2W)."""
    size = band.shape[0]
    window = (band.shape[1] - size) // 2
    centres = sentences[:, window : window + size]
    centres = centres.masked_fill(centres < 0, -2)  # what is no word is like nothing, not even another such
    return torch.where(centres.unsqueeze(2) == sentences.unsqueeze(1), band, 0)


def noise_pool(counts: Tensor, exponent: float, size: int, generator: torch.Generator | None = None) -> Tensor:
    """Negative samples in random order, each word as often as the noise distribution has it: (size,) int32.

    The noise distribution is proportional to count ** exponent. Any stretch of the pool is a sample of it; the whole
    has the right share of every word to within one (systematic sampling), so a pool is used again and again.

    Args:
        counts: Counts (V,) of the words in the training text.
        exponent: Power of the counts: 0.75 in word2vec, 1 draws as in the text, 0 all words alike.
        size: Number of samples in the pool.
        generator: Source of the random order; None is torch's own.
    """
    share = counts.double().pow(exponent).cumsum(0)
    share = share / share[-1]
    points = (torch.arange(size, dtype=torch.double) + torch.rand((), generator=generator)) / size
    words = torch.searchsorted(share, points).clamp_max(len(counts) - 1).int()
    return words[torch.randperm(size, generator=generator)]


class Group(NamedTuple):
    """Ids in their groups: of M ids, U different.

    ``ids`` (U,) long are those, in ascending order, ``inverse`` (M,) long says for each id which of them it is;
    ``order`` (M,) long lists the places of the first, then of the second, and so on; each begins at ``starts`` (U,).
    """

    ids: Tensor
    inverse: Tensor
    order: Tensor
    starts: Tensor


def group(ids: Tensor) -> Group:
    """Group equal ids: (M,) ids of 0 or more, on any device.

    >>> found = group(torch.tensor([7, 3, 7]))
    >>> found.ids, found.inverse, found.starts
    (tensor([3, 7]), tensor([1, 0, 1]), tensor([0, 1]))
    """
    if ids.is_cpu:  # one sort of 64-bit numbers, the place in the lower half; torch's takes three times as long
        packed = np.sort((ids.numpy().astype(np.int64) << 32) | np.arange(len(ids)))
        ordered, order = torch.from_numpy(packed >> 32), torch.from_numpy(packed & 0xFFFFFFFF)
    else:
        ordered, order = torch.sort(ids.long(), stable=True)
    different, which, sizes = torch.unique_consecutive(ordered, return_inverse=True, return_counts=True)
    inverse = torch.empty_like(order).scatter_(0, order, which)
    return Group(different, inverse, order, sizes.cumsum(0) - sizes)


def block_loss(hidden: Tensor, targets: Tensor, weights: Tensor, real: int) -> Tensor:
    """Negative sampling's loss, written out for autograd: the reference for ``BlockLoss``.

    For a pair with vectors h and t it is -log sigmoid(h t), for a negative sample -log sigmoid(-h t).

    Args:
        hidden: (n, S, D).
        targets: (n, R + K, D), first the words to be predicted, then the block's negative samples.
        weights: (n, S, R + K) of the pairs.
        real: R.

    Returns:
        The weighted sum over all pairs, a scalar.
    """
    scores = hidden @ targets.transpose(1, 2)
    signs = torch.ones(scores.shape[2], device=scores.device)
    signs[real:] = -1
    return -(F.logsigmoid(scores * signs) * weights).sum()


class BlockLoss(torch.autograd.Function):
    """``block_loss`` of rows of two small matrices, with the gradients of those rows summed by hand.

    ``apply(inputs, outputs, in_group, out_group, mix, weights, real)``:

    ``inputs`` (U, D) and ``outputs`` (V, D) hold each word of the batch once; ``in_group`` of n * A ids and
    ``out_group`` of n * (R + K) say which of their rows is where. ``mix`` (n, S, A) makes the S hidden vectors of a
    block from its A rows, or is None where they are the same. The products are taken in the precision of the weights,
    the sums in that of the rows.

    Where gradients are wanted they are exact, but on a CPU the value is that of the first 4,096 words of the batch,
    scaled to all: logarithms take longer than everything else together, and no gradient needs them.
    """

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        inputs: Tensor,
        outputs: Tensor,
        in_group: Group,
        out_group: Group,
        mix: Tensor | None,
        weights: Tensor,
        real: int,
    ) -> Tensor:
        """The sum over all pairs; the gradients, too, while what they need is in the cache."""
        n, size, _ = weights.shape
        tables = inputs.to(weights.dtype), outputs.to(weights.dtype)
        places = in_group.inverse.view(n, -1), out_group.inverse.view(n, -1)
        train = any(ctx.needs_input_grad[:2])
        if train:
            to_rows, to_targets = (t.new_empty(*p.shape, t.shape[1]) for t, p in zip(tables, places, strict=True))
        tile = n if inputs.is_cuda else max(1, _TILE // size)
        losses: list[Tensor] = []
        for part in (slice(i, i + tile) for i in range(0, n, tile)):
            rows, targets = (
                t.index_select(0, p[part].flatten()).view(-1, p.shape[1], t.shape[1])
                for t, p in zip(tables, places, strict=True)
            )
            hidden = rows if mix is None else mix[part] @ rows
            scores = hidden @ targets.transpose(1, 2)
            scores[..., :real].neg_()  # now all are to be low
            if not (train and losses):
                losses.append(_value(scores, weights[part]))
            if train:
                slope = scores.sigmoid_().mul_(weights[part])
                slope[..., :real].neg_()
                torch.bmm(slope.transpose(1, 2), hidden, out=to_targets[part])
                to_hidden = torch.bmm(slope, targets, out=to_rows[part] if mix is None else None)
                if mix is not None:
                    torch.bmm(mix[part].transpose(1, 2), to_hidden, out=to_rows[part])
        loss = torch.stack(losses).sum()
        if train:
            ctx.save_for_backward(_sums(to_rows, in_group), _sums(to_targets, out_group))
            each = weights[..., -1].sum(1, dtype=torch.float32)  # of a block, in proportion to its pairs
            loss *= each.sum() / each[:tile].sum().clamp_min(1e-12)
        return loss.to(torch.promote_types(inputs.dtype, torch.float32))  # a sum is beyond float16

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:  # type: ignore[override]
        """Of ``inputs`` and ``outputs``."""
        to_inputs, to_outputs = ctx.saved_tensors
        if grad.is_cpu and abs(grad.item() - 1) < 1e-6:  # as in plain training
            return to_inputs, to_outputs, *[None] * 5
        return to_inputs * grad, to_outputs * grad, *[None] * 5


_TILE = 4096  # words of text whose scores and vectors stay in a processor's cache


def _value(scores: Tensor, weights: Tensor) -> Tensor:
    """The weighted sum of softplus(score)."""
    scores = scores.float()
    softplus = scores.relu() - scores.abs().sigmoid_().log_()  # torch's own takes ten times as long on a CPU
    return (softplus * weights).sum()


def _sums(rows: Tensor, which: Group) -> Tensor:
    """Rows (n, A, D) summed over the places of each id: (U, D)."""
    return F.embedding_bag(which.order, rows.flatten(0, 1), which.starts, mode="sum").float()


class _TakeRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, table: Tensor, ids: Tensor) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(ids)
        ctx.shape = table.shape
        return table.index_select(0, ids)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:  # type: ignore[override]
        (ids,) = ctx.saved_tensors
        rows = ids.unsqueeze(0)
        return torch.sparse_coo_tensor(rows, grad, ctx.shape, is_coalesced=True, check_invariants=False), None


def take_rows(table: nn.Embedding, ids: Tensor) -> Tensor:
    """Rows (U, D) of a table: of ids (U,), each there once and ascending. A sparse table's gradient has no others."""
    if not table.sparse:
        return table.weight.index_select(0, ids)
    return _TakeRows.apply(table.weight, ids)  # type: ignore[no-any-return]

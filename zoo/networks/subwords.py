"""Letter n-grams of words, hashed as in fastText (Bojanowski et al. 2017, "Enriching word vectors with subword
information"): which rows of a table make a word's vector."""

from collections.abc import Sequence

import torch
from torch import Tensor


def subword_table(words: Sequence[str], ngrams: Sequence[int], buckets: int) -> tuple[Tensor, Tensor]:
    """Rows that each word's vector is the mean of: its own, and those of its n-grams after all words'.

    Args:
        words: Words, V in all, in the order of their ids.
        ngrams: Lengths of the shortest and the longest n-gram.
        buckets: Number of rows that all n-grams share by hashing.

    Returns:
        The rows of all words one after another, (P,) long, and where each word's begin, (V + 1,).
    """
    from gensim.models.fasttext import ft_ngram_hashes

    size, (shortest, longest) = len(words), ngrams
    lists = [[i, *(size + h for h in ft_ngram_hashes(w, shortest, longest, buckets))] for i, w in enumerate(words)]
    lengths = torch.tensor([0, *map(len, lists)])
    return torch.tensor([row for rows in lists for row in rows]), lengths.cumsum(0)


def subwords_of(ids: Tensor, rows: Tensor, starts: Tensor) -> tuple[Tensor, Tensor]:
    """``subword_table`` of some of the words.

    Args:
        ids: Ids of words, (U,).
        rows: Rows of all words, from ``subword_table``.
        starts: Starts of all words' rows, from ``subword_table``.

    Returns:
        Their rows one after another, and where each word's begin, (U,), as ``embedding_bag`` takes them.
    """
    begin = starts[ids]
    lengths = starts[ids + 1] - begin
    offsets = lengths.cumsum(0) - lengths
    within = torch.arange(int(lengths.sum()), device=ids.device) - offsets.repeat_interleave(lengths)
    return rows[begin.repeat_interleave(lengths) + within], offsets

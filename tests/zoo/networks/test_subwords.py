import torch
from gensim.models.fasttext import ft_ngram_hashes

from zoo.networks.subwords import subword_table, subwords_of

WORDS = ["hello", "a", "worlds"]


def test_rows_are_fasttexts():
    rows, starts = subword_table(WORDS, [3, 4], 50)
    assert starts.tolist()[0] == 0 and len(starts) == 4
    for i, word in enumerate(WORDS):
        theirs = [3 + h for h in ft_ngram_hashes(word, 3, 4, 50)]
        assert rows[starts[i] : starts[i + 1]].tolist() == [i, *theirs]


def test_some_words_rows():
    rows, starts = subword_table(WORDS, [3, 4], 50)
    found, offsets = subwords_of(torch.tensor([0, 2]), rows, starts)
    assert found.tolist() == [*rows[: starts[1]].tolist(), *rows[starts[2] :].tolist()]
    assert offsets.tolist() == [0, int(starts[1])]

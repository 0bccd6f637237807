"""Text for word vectors: rows of word numbers, cut anew from a thinned-out text at every epoch."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from datamodules.base import SplitDataModule
from datamodules.encodings import check_encoding
from datamodules.loader import Resumable
from datamodules.text import (
    NumberedText,
    SentenceBoundary,
    choose_vocabulary,
    join_phrases,
    keep_probability,
    words_of_files,
    words_of_sentences,
)
from datamodules.text_files import text_files
from datamodules.words import Tokeniser
from zoo.core.arguments import at_least
from zoo.core.batch import TOKENS

_CHUNK = 1 << 22  # words that are thinned out and shuffled together
_FEW = 100  # words: fewer are not worth being set aside for validation


class ChunkedRows:
    """A stretch of a numbered text as rows of L words, thinned out by chance.

    Args:
        text: Numbered text.
        start: Number of the stretch's first word.
        stop: Number of the word behind its last.
        ids: Word ids of the text's numbers, (numbers,) int32, -1 for what is no word.
        keep: Probabilities of the numbers to stay, (numbers,).
        length: Words in a row, L.
    """

    def __init__(self, text: NumberedText, start: int, stop: int, ids: Tensor, keep: Tensor, length: int) -> None:
        self.text, self.ids, self.keep, self.length = text, ids, keep, length
        self.bounds = [(at, min(at + _CHUNK, stop)) for at in range(start, stop, _CHUNK)]
        # How many rows a chunk gives is fixed, so that epochs and ranks are of one length; chance moves it by a few
        # words, which are cut off or filled up.
        expected = [keep[text.read(*bound)].sum(dtype=torch.double).item() for bound in self.bounds]
        self.rows = [max(1, -(-round(words) // length)) for words in expected]

    def read(self, chunk: int, seed: int) -> Tensor:
        """A chunk's rows, (rows, L) int32."""
        numbers = self.text.read(*self.bounds[chunk])
        chance = np.random.Generator(np.random.SFC64(seed)).random(len(numbers), dtype=np.float32)
        stays = chance < self.keep.index_select(0, numbers).numpy()
        kept = np.compress(stays, numbers.numpy())  # torch takes five times as long
        words = self.ids.index_select(0, torch.from_numpy(kept))
        rows = torch.full((self.rows[chunk] * self.length,), -1, dtype=torch.int32)
        words = words[: len(rows)]
        rows[: len(words)] = words
        return rows.view(-1, self.length)


class CorpusLoader(Resumable):
    """Batches of rows, each rank its share.

    Args:
        rows: Text to serve.
        batch_size: Rows in a batch, B; a chunk's last batch may be smaller.
        rank: Number of this process.
        world_size: Number of processes.
        shuffle: Whether the rows of a chunk, and the chunks, are permuted and thinned out anew every epoch.
        seed: Seed of all that.

    Yields:
        {"tokens": (B, L) int32 ids, -1 between sentences}.
    """

    def __init__(
        self,
        rows: ChunkedRows,
        batch_size: int,
        rank: int = 0,
        world_size: int = 1,
        shuffle: bool = False,
        seed: int = 0,
    ) -> None:
        self.rows, self.batch_size = rows, batch_size
        self.rank, self.world_size, self.shuffle, self.seed = rank, world_size, shuffle, seed
        self.epoch = 0
        self.sampler, self.batch_sampler = self, None  # Lightning tells a loader's sampler the epoch

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch, which decides what chance does in the next iteration."""
        self.epoch = epoch

    def __len__(self) -> int:
        return sum(self._batches(rows) for rows in self.rows.rows)

    def _batches(self, rows: int) -> int:
        return -(-rows // (self.batch_size * self.world_size))

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        skip = self._take_start()
        epoch = self.epoch if self.shuffle else 0
        for chunk in self._order(len(self.rows.rows), epoch, -1).tolist():
            batches = self._batches(self.rows.rows[chunk])
            if skip >= batches:
                skip -= batches
                continue
            rows = self.rows.read(chunk, hash((self.seed, epoch, chunk)) % 2**63)
            order = self._order(len(rows), epoch, chunk)
            # A few rows come twice where the ranks would get unequal numbers.
            order = order.repeat(self.world_size)[: -(-len(rows) // self.world_size) * self.world_size]
            for indices in order[self.rank :: self.world_size].split(self.batch_size)[skip:]:
                self._position += 1
                yield {TOKENS: rows.index_select(0, indices)}
            skip = 0

    def _order(self, n: int, epoch: int, chunk: int) -> Tensor:
        if not self.shuffle:
            return torch.arange(n)
        generator = torch.Generator().manual_seed(hash((self.seed, epoch, chunk, n)) % 2**63)
        return torch.randperm(n, generator=generator)


class Corpus(SplitDataModule):
    """A text in batches ``{"tokens": (B, L) int32}``: ids of words, the most frequent is 0; -1 is between sentences.

    Args:
        path: Path of a file (.gz, .bz2, .xz are unpacked), or of a folder of them, links followed; None takes
            ``sentences``, and without those the small Lee corpus that comes with gensim, 300 news stories.
        sentences: Iterable of lists of words, or of strings, instead of ``path``.
        sentence_boundary: End of a sentence, over which no word sees another: a "line", a "paragraph" (an empty line),
            or nothing but the "file"'s end.
        tokeniser: Rule for words: "simple" is gensim's for all scripts, lower case, runs of 2 to 15 letters with their
            marks; "whitespace" takes what is between blanks, as languages without them need (divided before).
        phrases: Number of passes in which words that are often together become one, ``new_york``.
        errors: What happens to bytes that are wrong in the encoding: "replace" counts them, "strict" ends with an
            error.
        encoding: Encoding of the files; "" is UTF-8, or UTF-16 and UTF-32 where a mark at the beginning says so.
        min_count: Occurrences below which a word is left out, as if it were not there.
        max_vocab: Number of words at most, the most frequent.
        subsample_threshold: Share of the text above which a word is thinned out; 0 keeps all.
        length: Words in a row, L.
        batch_size: Rows in a batch on each rank, B; None takes 64, and fewer where that would be less than 50 batches
            an epoch.
        val_fraction: Share at the end of the text that is set aside for validation and test; where that would be fewer
            than a hundred words, the text itself is used.
        seed: Seed of thinning out and shuffling.

    Raises:
        ValueError: an argument out of its range.
    """

    input_shape = num_classes = normalisation = None
    renamed: ClassVar = {"unit": "sentence_boundary", "sample": "subsample_threshold"}

    def __init__(
        self,
        path: str | None = None,
        sentences: Iterable[Any] | None = None,
        sentence_boundary: SentenceBoundary = "line",
        tokeniser: Tokeniser = "simple",
        phrases: int = 0,
        errors: Literal["replace", "strict"] = "replace",
        encoding: str = "",
        min_count: int = 5,
        max_vocab: int | None = None,
        subsample_threshold: float = 1e-3,
        length: int = 512,
        batch_size: int | None = None,
        val_fraction: float = 0.01,
        seed: int = 0,
    ) -> None:
        super().__init__()
        check_encoding(encoding)
        at_least(0, phrases=phrases, subsample_threshold=subsample_threshold)
        at_least(1, min_count=min_count, max_vocab=max_vocab or 1, batch_size=batch_size or 1)
        at_least(2, length=length)
        if not 0 <= val_fraction < 1:
            raise ValueError(f"val_fraction must be 0 or more and below 1; got {val_fraction}")
        if path is not None and sentences is not None:
            raise ValueError("give path or sentences, not both")
        if isinstance(sentences, str):
            raise ValueError("sentences is an iterable of sentences; for one text write [text]")
        self.path, self.sentences = path, sentences
        self.sentence_boundary, self.tokeniser, self.phrases, self.errors = (
            sentence_boundary,
            tokeniser,
            phrases,
            errors,
        )
        self.encoding = encoding
        self.min_count, self.max_vocab = min_count, max_vocab
        self.subsample_threshold = subsample_threshold
        self.length, self.batch_size, self.val_fraction, self.seed = length, batch_size, val_fraction, seed
        self._ready = False

    @property
    def vocabulary(self) -> dict[str, int]:
        """Words and their counts, the most frequent first; a word's position is its id."""
        self.setup()
        return self._vocabulary

    @property
    def vocab_size(self) -> int:
        """Number of words, V."""
        return len(self.vocabulary)

    @property
    def fingerprint(self) -> str:
        """Digest of the text as it is used."""
        self.setup()
        return self._fingerprint

    @property
    def test_is_validation(self) -> bool:
        """True: one text is held out, for both."""
        return True

    def setup(self, stage: str | None = None) -> None:
        if self._ready:
            return
        text = NumberedText(
            join_phrases(self._pieces, self.phrases, self.min_count) if self.phrases else self._pieces()
        )
        self._vocabulary = choose_vocabulary(text, self.min_count, self.max_vocab)
        number_of = {word: number for number, word in enumerate(text.words, 1)}
        numbers = torch.tensor([number_of[word] for word in self._vocabulary])
        ids = torch.full((len(text.words) + 1,), -1, dtype=torch.int32)
        ids[numbers] = torch.arange(len(numbers), dtype=torch.int32)
        keep = torch.zeros(len(ids))
        keep[0] = 1  # ends of sentences
        counts = torch.tensor(list(self._vocabulary.values()))
        keep[numbers] = keep_probability(counts, self.subsample_threshold)
        _check_pairs(text, ids)
        held_out = int(len(text) * self.val_fraction)
        split = len(text) - held_out
        self._train = ChunkedRows(text, 0, split, ids, keep, self.length)
        self._val = ChunkedRows(text, split, len(text), ids, keep, self.length) if held_out >= _FEW else self._train
        self._fingerprint, self._ready = text.fingerprint, True

    def _pieces(self) -> Iterator[list[str]]:
        if self.sentences is not None:
            if iter(self.sentences) is self.sentences:  # read more than once, by the phrases
                self.sentences = list(self.sentences)
            return words_of_sentences(self.sentences, self.tokeniser)
        files = text_files(self.path if self.path is not None else _lee(), self.encoding)
        return words_of_files(files, self.sentence_boundary, self.tokeniser, self.errors, self.encoding)

    def _loader(self, split: str, shuffle: bool = False) -> CorpusLoader:
        self.setup()
        rows = self._train if split == "train" else self._val  # the held-out text is for testing, too
        rank, world_size = self._rank_and_world_size()
        fit = sum(self._train.rows) // (50 * world_size)
        batch_size = self.batch_size or min(64, max(1, fit))
        return CorpusLoader(rows, batch_size, rank, world_size, shuffle, self.seed)


def _check_pairs(text: NumberedText, ids: Tensor) -> None:
    """Refuse a text in which no word has a neighbour."""
    for start in range(0, len(text), _CHUNK):
        numbers = text.read(start, start + _CHUNK)
        numbers = numbers[(numbers == 0) | (ids[numbers] >= 0)]
        if ((numbers[1:] > 0) & (numbers[:-1] > 0)).any():
            return
    raise ValueError(
        "no sentence has two words of the vocabulary, so no word has a neighbour to predict: "
        "check `data.sentence_boundary`, `data.min_count` and `data.tokeniser`"
    )


def _lee() -> Path:
    from gensim.test.utils import datapath

    return Path(datapath("lee_background.cor"))

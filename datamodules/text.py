"""From files of text to numbered words: read in pieces, so that memory does not grow with the text."""

import hashlib
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, count, islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from datamodules.text_files import Errors, read_pieces
from datamodules.text_files import text_files as text_files
from datamodules.words import Tokeniser, say_if_undivided, tokenise

SentenceBoundary = Literal["line", "paragraph", "file"]

_SENTENCES = 10_000  # from a Python iterable, at one time
_END = "\0"  # a word of its own at the end of a sentence


def words_of(text: str, boundary: SentenceBoundary, tokeniser: Tokeniser) -> list[str]:
    """A piece's words, with a mark at each end of a sentence."""
    if boundary == "file":
        return tokenise(text, tokeniser)
    separator = "\n" if boundary == "line" else "\n\n"
    if tokeniser == "whitespace":
        return text.replace(separator, f" {_END} ").split()
    *whole, last = text.split(separator)
    words = [word for part in whole for word in (*tokenise(part, tokeniser), _END)]
    return words + tokenise(last, tokeniser)


def words_of_files(
    files: Iterable[Path],
    boundary: SentenceBoundary,
    tokeniser: Tokeniser,
    errors: Errors = "replace",
    encoding: str = "",
) -> Iterator[list[str]]:
    """Pieces of words with marks between sentences; the end of a file is the end of a sentence."""
    said = False
    for file in files:
        for text in read_pieces(file, errors, encoding=encoding):
            said = said or say_if_undivided(text, str(file))
            yield words_of(text, boundary, tokeniser)
        yield [_END]


def words_of_sentences(sentences: Iterable[Any], tokeniser: Tokeniser) -> Iterator[list[str]]:
    """The same of a Python iterable: lists of words, or strings, which are split into words; empty words are left out.

    Raises:
        ValueError: an item is neither.
    """
    source, said = iter(sentences), False
    while some := list(islice(source, _SENTENCES)):
        words: list[str] = []
        said = said or say_if_undivided(" ".join(s for s in some[:100] if isinstance(s, str)), "`data.sentences`")
        for sentence in some:
            if isinstance(sentence, str):
                sentence = tokenise(sentence, tokeniser)
            elif not isinstance(sentence, Iterable) or not all(isinstance(word, str) for word in sentence):
                raise ValueError(f"a sentence is a list of words or a string; got {str(sentence)[:60]}")
            words += [*(word for word in sentence if word not in ("", _END)), _END]
        yield words


def join_phrases(pieces: Callable[[], Iterator[list[str]]], passes: int, min_count: int) -> Iterator[list[str]]:
    """Words that are often together become one, ``new_york``: gensim's phrase detection (Mikolov et al. 2013).

    Args:
        pieces: Gives the words, as often as it is called.
        passes: Each joins two; with two passes up to four words become one.
        min_count: Pairs that are rarer stay apart.
    """
    from gensim.models.phrases import ENGLISH_CONNECTOR_WORDS, Phrases

    models: list[Any] = []

    def joined() -> Iterator[list[str]]:
        for words in chain.from_iterable(map(_sentences, pieces())):
            for model in models:
                words = model[words]
            yield words

    for _ in range(passes):
        found = Phrases(joined(), min_count=min_count, connector_words=ENGLISH_CONNECTOR_WORDS)
        models.append(found.freeze())
    return words_of_sentences(joined(), "whitespace")


def _sentences(words: list[str]) -> Iterator[list[str]]:
    """A piece's words in their sentences."""
    start = 0
    ends = [i for i, word in enumerate(words) if word == _END]
    for end in [*ends, len(words)]:
        if end > start:
            yield words[start:end]
        start = end + 1


class NumberedText:
    """A text as numbers in a temporary file: 0 ends a sentence, words count from 1 in the order of their appearance.

    Args:
        pieces: Lists of words, with marks between sentences.

    Attributes:
        words: of all numbers from 1.
        counts: (words + 1,) how often each number occurs.
        fingerprint: of the text as it is used.
    """

    def __init__(self, pieces: Iterable[list[str]]) -> None:
        numbers: dict[str, int] = defaultdict(count().__next__)
        numbers[_END]  # takes 0
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  # closed, and gone, with this object
        self.counts = np.zeros(1, dtype=np.int64)
        self._length = 0
        digest = hashlib.blake2b(digest_size=8)
        for piece in pieces:
            part = np.fromiter(map(numbers.__getitem__, piece), np.int32, len(piece))
            found = np.bincount(part, minlength=len(numbers))
            found[: len(self.counts)] += self.counts
            self.counts = found
            self._length += len(part)
            digest.update(part.tobytes())
            part.tofile(self._file)
        self._file.flush()
        self.words = list(numbers)[1:]
        digest.update("\n".join(self.words).encode(errors="surrogatepass"))
        self.fingerprint = digest.hexdigest()

    def __len__(self) -> int:
        return self._length

    def read(self, start: int, stop: int) -> Tensor:
        """Numbers ``start`` to ``stop``, (stop - start,) int32."""
        self._file.seek(4 * start)
        return torch.from_numpy(np.fromfile(self._file, np.int32, max(0, stop - start)))


def choose_vocabulary(text: NumberedText, min_count: int, max_vocab: int | None) -> dict[str, int]:
    """Words and their counts, the most frequent first; of equally frequent ones the first in the text.

    Args:
        text: Numbered.
        min_count: Rarer words are left out.
        max_vocab: At most so many.

    Raises:
        ValueError: no word is left.
    """
    counts = text.counts[1:]
    if not len(counts):
        raise ValueError(
            "the text is empty: there is no word in it (`data.tokeniser` simple takes runs of 2 to 15 letters, "
            "whitespace what is between blanks)"
        )
    order = np.argsort(-counts, kind="stable")
    kept = order[counts[order] >= min_count][:max_vocab]
    if not len(kept):
        top = order[0]
        raise ValueError(
            f"`data.min_count` {min_count} leaves no word: of {len(counts):,} different words the most frequent, "
            f"{text.words[top]!r}, occurs {counts[top]:,} times; set `data.min_count` to {counts[top]} or lower"
        )
    return {text.words[i]: int(counts[i]) for i in kept.tolist()}


def keep_probability(counts: Tensor, threshold: float) -> Tensor:
    """Of each word's occurrences the share that is trained on, (V,): Mikolov's rule as word2vec and gensim have it.

    Args:
        counts: (V,) of the words.
        threshold: Share of the text above which a word is thinned out; 0 keeps all.
    """
    if threshold == 0:
        return torch.ones(len(counts))
    ratio = threshold * counts.sum() / counts.double()
    return (ratio.sqrt() + ratio).clamp_max(1).float()

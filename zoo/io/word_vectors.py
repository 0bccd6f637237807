"""Word vectors as files: word2vec's and gensim's formats, or ``vectors.safetensors`` and ``vocabulary.json``."""

import json
import logging
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from zoo.core.archive import first_line, load_tensors
from zoo.core.atomic import atomic_write

log = logging.getLogger(__name__)


def keyed_vectors(
    vocabulary: Mapping[str, int],
    vectors: Tensor,
    table: Tensor | None = None,
    ngrams: Sequence[int] = (),
    buckets: int = 0,
) -> Any:
    """gensim's ``KeyedVectors``, with sub-words its ``FastTextKeyedVectors``, which knows unknown words, too.

    Args:
        vocabulary: Words and their counts; a word's position is its id.
        vectors: Vectors of the words, (V, D).
        table: Rows of words and n-grams, (V + buckets, D), of which ``vectors`` are means; None without sub-words.
        ngrams: Lengths of the shortest and the longest n-gram.
        buckets: Number of rows that n-grams share.
    """
    from gensim.models import KeyedVectors
    from gensim.models.fasttext import FastTextKeyedVectors

    words, size, dim = list(vocabulary), len(vocabulary), vectors.shape[1]
    if table is None:
        keyed = KeyedVectors(dim, count=0)
        keyed.add_vectors(words, vectors.cpu().numpy())
    else:
        keyed = FastTextKeyedVectors(dim, min_n=ngrams[0], max_n=ngrams[1], bucket=buckets)
        keyed.add_vectors(words, vectors.cpu().numpy())
        rows = table.detach().float().cpu().numpy()
        keyed.vectors_vocab, keyed.vectors_ngrams = rows[:size].copy(), rows[size:].copy()
        keyed.recalc_char_ngram_buckets()
        keyed.adjust_vectors()
    for word, count in vocabulary.items():
        keyed.set_vecattr(word, "count", count)
    return keyed


def save_vectors(keyed: Any, path: str | Path) -> Path:
    """Write gensim's ``KeyedVectors``.

    Args:
        keyed: Word vectors.
        path: Path of the file: ``.txt`` and ``.bin`` are word2vec's text and binary format, ``.kv`` gensim's own;
            anything else is a folder for ``vectors.safetensors``, float32 (V, D), and ``vocabulary.json``, words and
            their counts. In word2vec's formats a blank ends a word: one within a word becomes "_", which is said.

    Returns:
        The path.

    Raises:
        ValueError: word2vec's formats cannot hold a word: it is empty, or would be another's.
    """
    path = Path(path)
    if path.suffix in (".txt", ".bin"):
        keyed = _without_blanks(keyed, path)
        atomic_write(path, lambda tmp_path: keyed.save_word2vec_format(tmp_path, binary=path.suffix == ".bin"))
    elif path.suffix == ".kv":
        atomic_write(path, lambda tmp_path: keyed.save(tmp_path, sep_limit=2**62))  # one file, whatever its size
    else:
        counts = {word: int(keyed.get_vecattr(word, "count")) for word in keyed.index_to_key}
        vectors = torch.from_numpy(keyed.vectors).contiguous()
        atomic_write(path / "vectors.safetensors", lambda tmp_path: save_file({"vectors": vectors}, tmp_path))
        text = json.dumps(counts, ensure_ascii=False, indent=0)
        atomic_write(path / "vocabulary.json", lambda tmp_path: Path(tmp_path).write_text(text, encoding="utf-8"))
    return path


def _without_blanks(keyed: Any, path: Path) -> Any:
    """The vectors, with "_" for blanks and line ends within words, as word2vec writes ``new_york``."""
    written = {word: re.sub(r"\s", "_", word) for word in keyed.index_to_key}
    changed = [word for word in written if word != written[word]]
    if "" in written:
        raise ValueError(f"{path}: an empty word cannot be written in word2vec's format; a folder or .kv holds it")
    counts = Counter(written.values())
    if twice := [word for word in changed if counts[written[word]] > 1]:
        raise ValueError(
            f"{path}: {twice[0]!r} cannot be written in word2vec's format, where blanks end words: as "
            f"{written[twice[0]]!r} it would be another word; a folder or .kv holds both"
        )
    if not changed:
        return keyed
    log.warning("%s: blanks within %d words become '_', since they end words there: %r", path, len(changed), changed[0])
    from gensim.models import KeyedVectors

    plain = KeyedVectors(keyed.vector_size, count=0)
    plain.add_vectors(list(written.values()), keyed.vectors)
    for word in written:
        plain.set_vecattr(written[word], "count", int(keyed.get_vecattr(word, "count")))
    return plain


def load_vectors(directory: str | Path) -> tuple[Tensor, dict[str, int]]:
    """Vectors (V, D), and the words in that order with their counts, from a folder that ``save_vectors`` wrote.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file is damaged, or the numbers of words and vectors differ.
    """
    words_file, vectors_file = Path(directory) / "vocabulary.json", Path(directory) / "vectors.safetensors"
    for file in (words_file, vectors_file):
        if not file.is_file():
            raise FileNotFoundError(f"no word vectors in {directory}: {file.name} is missing")
    try:
        vocabulary = json.loads(words_file.read_text(encoding="utf-8"))
        vectors = load_tensors(vectors_file)["vectors"]
    except (ValueError, KeyError, OSError, RecursionError) as error:
        raise ValueError(f"the vectors in {directory} cannot be read: {first_line(error)}") from error
    if not isinstance(vocabulary, dict) or not all(type(n) is int and n >= 0 for n in vocabulary.values()):
        raise ValueError(f"{words_file} is not a vocabulary: words and how often each occurs")
    if vectors.ndim != 2 or not vectors.is_floating_point() or not vectors.isfinite().all():
        shape = tuple(vectors.shape)
        raise ValueError(f"{vectors_file} has no vectors (V, D) of finite numbers; got {vectors.dtype} {shape}")
    if len(vocabulary) != len(vectors):
        raise ValueError(f"{directory} has {len(vectors):,} vectors for {len(vocabulary):,} words")
    return vectors, vocabulary

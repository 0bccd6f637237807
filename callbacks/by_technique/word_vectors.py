"""Evaluation of word vectors: scores on gensim's test files, nearest neighbours, a map, files for TensorBoard."""

import logging
import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import lightning.pytorch as pl
import numpy as np
from matplotlib.figure import Figure

from callbacks.figures import FigureCallback, FigureText
from zoo.core.arguments import at_least
from zoo.core.atomic import atomic_write
from zoo.core.findings import COUNT, PERCENT, Finding, Reference
from zoo.functional.intervals import wilson

_PAIRS = {"wordsim353": "wordsim353.tsv", "simlex999": "simlex999.txt"}
_ANALOGIES = "questions-words.txt"
_FREQUENT = 10_000
_FUNCTION_WORDS = 100  # the most frequent words of a text say little about what is in it


class WordVectors(FigureCallback):
    """Evaluates word vectors; for modules with ``to_keyed_vectors()``, gensim's ``KeyedVectors``.

    At validation: ``wordsim353`` and ``simlex999``, Spearman's correlation of cosines with what people say, -1 to 1;
    at the end of training, and at test, ``analogies``, the accuracy on analogies, 0 to 1. Words that the vocabulary
    lacks are left out, as gensim does by default; a file of which it has less than half says nothing and is not
    scored. At test: a table of nearest neighbours, in ``neighbours.tsv``; ``word_map.png``; and
    ``projector/``, which TensorBoard's projector opens.

    Args:
        every_n_epochs: Epochs between evaluations while training; 0 evaluates only at the end.
        analogies_every_n_epochs: Epochs between evaluations of the analogies, which take seconds; 0 likewise.
        words: Number of words on the map, beginning with the hundredth most frequent.
        neighbours: Number of neighbours of each word in the table.
        projector: Number of words for TensorBoard, the most frequent; 0 writes nothing.

    Raises:
        ValueError: an argument out of its range.
    """

    figures: ClassVar = {
        "word_map": FigureText("Map of frequent words", "Words of one topic should stand together.", 5),
    }

    def __init__(
        self,
        every_n_epochs: int = 1,
        analogies_every_n_epochs: int = 0,
        words: int = 300,
        neighbours: int = 6,
        projector: int = 10_000,
    ) -> None:
        super().__init__(every_n_epochs)
        at_least(0, analogies_every_n_epochs=analogies_every_n_epochs, words=words, projector=projector)
        at_least(1, neighbours=neighbours)
        self.analogies_every_n_epochs, self.words = analogies_every_n_epochs, words
        self.neighbours, self.projector = neighbours, projector
        self._scores: dict[str, tuple[float, int]] = {}
        self._neighbours: list[list[str]] = []

    def findings(self, trainer: pl.Trainer, module: Any) -> list[Finding]:
        """Similarity, analogies and neighbours, for the run's table and report."""
        if not hasattr(module, "to_keyed_vectors"):
            return []
        found = [_score_finding(name, *score) for name, score in self._scores.items()]
        loss = trainer.callback_metrics.get("test/loss")
        return found + _loss_findings(loss, module) + [_neighbour_finding(row) for row in self._neighbours[:4]]

    def collect(self, module: pl.LightningModule, batch: Mapping[str, Any], batch_idx: int, outputs: Any) -> None:
        """Keep nothing: it is the module that is evaluated."""

    def draw(self, trainer: pl.Trainer, module: Any) -> None:
        """Write table, map and files, of what is tested."""
        if not trainer.testing or not hasattr(module, "to_keyed_vectors"):
            return
        keyed = module.to_keyed_vectors()
        rows = neighbour_table(keyed, some_words(keyed, 12), self.neighbours)
        self._neighbours = rows
        table = ("\t".join(map(_cell, row)) + "\n" for row in rows)
        _write(self.folder / "neighbours.tsv", "".join(table))
        if len(words := some_words(keyed, self.words)) >= 3:
            self.save(trainer, word_map(keyed, words), "word_map")
        if self.projector:
            write_projector(keyed, self.folder / "projector", self.projector)

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Take the scores: metrics can be logged here, and no longer when the figure is drawn."""
        if not self.due(trainer) or not hasattr(pl_module, "to_keyed_vectors"):
            return
        keyed, stage = pl_module.to_keyed_vectors(), "test" if trainer.testing else "val"
        found = {name: word_pairs(keyed, file) for name, file in _PAIRS.items()}
        if trainer.testing or self._analogies_due(trainer):
            found["analogies"] = analogies(keyed)
        self._scores = {name: score for name, score in found.items() if score is not None}
        pl_module.log_dict({f"{stage}/{name}": score for name, (score, _) in self._scores.items()}, rank_zero_only=True)

    on_test_epoch_end = on_validation_epoch_end

    def _analogies_due(self, trainer: pl.Trainer) -> bool:
        every = self.analogies_every_n_epochs
        return every > 0 and (trainer.current_epoch + 1) % every == 0


def _score_finding(name: str, score: float, count: int) -> Finding:
    if name == "analogies":
        meaning = "right answers to 'Athens is to Greece as Oslo is to ...'; more is better"
        guess = Reference("guessing", 0.0, None, 3 / count, baseline=True)  # the rule of three: of none right, 95 %
        return Finding("similarity", name, score, meaning, PERCENT, count, wilson(score * count, count), (guess,),
                       metric=name)  # fmt: skip
    half = 1.96 / max(1, count - 3) ** 0.5
    z = math.atanh(max(-0.9999, min(0.9999, score)))
    interval = (math.tanh(z - half), math.tanh(z + half))
    meaning = "rank correlation of words' cosines with what people say of their likeness, -1 to 1; more is better"
    guess = Reference("untrained vectors", 0.0, None, math.tanh(half), baseline=True)
    return Finding("similarity", name, score, meaning, samples=count, interval=interval, references=(guess,),
                   metric=name)  # fmt: skip


def _loss_findings(loss: Any, module: Any) -> list[Finding]:
    negatives = module.hparams.get("negatives")
    if loss is None or not negatives:
        return []
    guess = Reference("guessing", math.log(2) * (1 + negatives), baseline=True)
    meaning = "how surprising a word's neighbours in held-out text are, in nats a pair; less is better"
    return [Finding("words", "loss", float(loss), meaning, references=(guess,), higher_is_better=False, metric="loss")]


def _neighbour_finding(row: list[str]) -> Finding:
    word, *near = row
    meaning = "its nearest words, the nearest first: do they mean something alike?"
    return Finding("neighbours", word, float(len(near)), meaning, COUNT, text=", ".join(near))


def word_pairs(keyed: Any, file: str) -> tuple[float, int] | None:
    """Spearman's correlation on a file of word pairs that gensim has or a path, and how many pairs are known; None if
    most words are unknown."""
    from gensim.test.utils import datapath

    try:
        with _silent():
            _, spearman, unknown = keyed.evaluate_word_pairs(datapath(file))
    except ValueError:  # not one pair is known
        return None
    lines = Path(datapath(file)).read_text(encoding="utf-8").splitlines()
    pairs = sum(1 for line in lines if line.strip() and line[0] != "#")
    return None if unknown > 50 else (float(spearman.statistic), round(pairs * (1 - unknown / 100)))


def analogies(keyed: Any) -> tuple[float, int] | None:
    """Share of right answers on gensim's file of analogies, and how many questions have known words alone; None if
    most have an unknown one."""
    from gensim.test.utils import datapath

    with Path(datapath(_ANALOGIES)).open(encoding="utf-8") as file:
        questions = [line.lower().split() for line in file if not line.startswith(":")]
    known = {word.lower() for word in keyed.index_to_key}
    asked = sum(all(word in known for word in words) for words in questions)
    if 2 * asked < len(questions):
        return None
    with _silent():
        return float(keyed.evaluate_word_analogies(datapath(_ANALOGIES))[0]), asked


@contextmanager
def _silent() -> Iterator[None]:
    """Without the warnings of gensim for every unknown pair, and of scipy for every constant one."""
    log = logging.getLogger("gensim")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(before)


def some_words(keyed: Any, n: int) -> list[str]:
    """Up to n frequent words, function words left out where there are enough others."""
    words = keyed.index_to_key
    start = min(_FUNCTION_WORDS, max(0, len(words) - n))
    return list(words[start : start + n])


def neighbour_table(keyed: Any, words: list[str], k: int) -> list[list[str]]:
    """Rows of a word and its k nearest among the frequent ones; neighbours of rare words are mostly noise."""
    nearest = {word: keyed.most_similar(word, topn=k, restrict_vocab=_FREQUENT) for word in words}
    return [[word, *(near for near, _ in nearest[word])] for word in words]


def word_map(keyed: Any, words: list[str]) -> Figure:
    """The words in two dimensions, similar ones near each other (t-SNE by cosine), written where they are."""
    from sklearn.manifold import TSNE

    vectors = np.stack([keyed.get_vector(word, norm=True) for word in words])
    spread = TSNE(perplexity=min(15, (len(words) - 1) / 3), metric="cosine", init="random", random_state=0)
    x, y = spread.fit_transform(vectors).T
    figure = Figure(figsize=(12, 10), layout="constrained")
    axes = figure.add_subplot()
    axes.scatter(x, y, s=3, color="0.8")
    for word, position in zip(words, zip(x, y, strict=True), strict=True):
        axes.annotate(word, position, fontsize=8, ha="center", va="center")
    axes.set_axis_off()
    axes.set_title(f"{len(words)} frequent words, similar ones near each other (t-SNE)", fontsize=11)
    return figure


def write_projector(keyed: Any, folder: Path, limit: int) -> None:
    """What TensorBoard's projector reads: ``tensors.tsv``, ``metadata.tsv`` and ``projector_config.pbtxt``."""
    words = keyed.index_to_key[:limit]
    rows = ("\t".join(f"{value:.5g}" for value in row) for row in keyed.vectors[: len(words)])
    _write(folder / "tensors.tsv", "\n".join(rows) + "\n")
    counted = (f"{_cell(word)}\t{keyed.get_vecattr(word, 'count')}\n" for word in words)
    _write(folder / "metadata.tsv", "word\tcount\n" + "".join(counted))
    config = 'embeddings {\n  tensor_name: "words"\n  tensor_path: "tensors.tsv"\n  metadata_path: "metadata.tsv"\n}\n'
    _write(folder / "projector_config.pbtxt", config)


def _cell(word: str) -> str:
    """A word between tabs on one line."""
    return " ".join(word.split())


def _write(path: Path, text: str) -> None:
    atomic_write(path, lambda tmp_path: Path(tmp_path).write_text(text, encoding="utf-8"))

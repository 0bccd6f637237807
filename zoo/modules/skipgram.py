"""Word vectors from unlabelled text: skip-gram and CBOW with negative sampling, with or without sub-words.

Mikolov et al. 2013, "Distributed representations of words and phrases and their compositionality"; Bojanowski et al.
2017, "Enriching word vectors with subword information". Skip-gram predicts the words around a word from its vector,
CBOW a word from the mean of the vectors around it; "predicts" means to distinguish it from negative samples. Every word
has two vectors, one as input and one as output; the input vectors are the result.

Classic programs take one pair at a time, and read and write a few rows of two large tables for each. Here the words of
a batch are taken in blocks (``zoo.functional.skipgram``): each row is read once per batch, the pairs are products of
matrices, and each row is written once. The gradients of a frequent word's thousands of pairs are then applied at once,
with which plain SGD diverges: ``RowAdagrad`` gives every row its own learning rate and limits its step.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.core.arguments import more_than
from zoo.core.base import ZooModule
from zoo.core.batch import TOKENS, require
from zoo.core.findings import Headline
from zoo.core.optim import with_schedule
from zoo.core.optimizers import RowAdagrad
from zoo.core.suggest import closest
from zoo.functional.skipgram import (
    BlockLoss,
    cut_blocks,
    group,
    noise_pool,
    pair_weights,
    take_rows,
    window_weights,
)
from zoo.io.word_vectors import keyed_vectors, save_vectors
from zoo.networks.subwords import subword_table, subwords_of

_POOL = 1 << 20  # negative samples, at least


class SkipGramModule(ZooModule):
    """Word vectors of a vocabulary, trained on rows of its words.

    Args:
        vocabulary: Words and their counts in the training text; a word's position is its id. A datamodule for text has
            it as ``vocabulary``; a checkpoint brings its own.
        architecture: Architecture: "skipgram" or "cbow".
        dim: Dimension of the vectors, D.
        window: Number of context words on either side, W.
        dynamic_window: Whether nearer words count more, as in word2vec; otherwise all count alike.
        negatives: Number of negative samples for each pair.
        ns_exponent: Exponent of the counts in the noise distribution.
        ngrams: Lengths of the shortest and longest letter n-grams that a word's vector is made of beside its own, as in
            fastText; [] uses none. With them words that are not in the vocabulary have vectors, too.
        buckets: Number of vectors that all n-grams share by hashing.
        lr: Learning rate of ``RowAdagrad``; it falls linearly to zero at the end.
        max_step: Longest distance that a vector moves in one step.
        block_size: Number of words that share their negative samples, S.
        shared_negatives: Number of negative samples of a block, K; they are weighted so that each pair has
            ``negatives``.

    A batch has ``tokens`` (B, L), ids with -1 between sentences. Logged is the ``loss`` per pair in nats: of the pair
    itself and its ``negatives``, whatever the size of batches and blocks; log(2) * (1 + negatives) is chance.

    Raises:
        ValueError: an argument out of its range.
    """

    monitor = None  # the loss of held-out text is least long before the neighbours are best
    input_key = TOKENS
    batch_independent = "its negative samples are drawn anew for every batch"
    headline = Headline(
        ("similarity", "words", "neighbours"),
        "Are words of like meaning near each other?",
        advice="more text, or more epochs (`trainer.max_epochs`)",
    )
    artifacts = ("vectors/vectors.safetensors", "word_map.png")
    divergence_hint = "try a lower `lr` or a smaller `max_step`"
    renamed: ClassVar[dict[str, str]] = {"block": "block_size", "written_out": ""}

    def __init__(
        self,
        vocabulary: Mapping[str, int] | None = None,
        architecture: Literal["skipgram", "cbow"] = "skipgram",
        dim: int = 100,
        window: int = 5,
        dynamic_window: bool = True,
        negatives: int = 5,
        ns_exponent: float = 0.75,
        ngrams: list[int] = [],  # noqa: B006  # never changed; None would not be a list in a YAML file
        buckets: int = 200_000,
        lr: float = 0.2,
        max_step: float = 0.5,
        block_size: int = 16,
        shared_negatives: int = 16,
    ) -> None:
        super().__init__()
        more_than(0, dim=dim, window=window, negatives=negatives, buckets=buckets, block_size=block_size)
        more_than(0, shared_negatives=shared_negatives, lr=lr, max_step=max_step)
        if ngrams and not (len(ngrams) == 2 and 1 <= ngrams[0] <= ngrams[1]):
            raise ValueError(f"ngrams is [shortest, longest], like [3, 6], or []; got {ngrams}")
        self.save_hyperparameters(ignore=["vocabulary"])  # checkpoints have it; hparams.yaml is for people to read
        self.vocabulary: dict[str, int] = {}
        self._band = window_weights(block_size, window, dynamic_window)
        if vocabulary is not None:
            self._set_vocabulary(vocabulary)

    def _set_vocabulary(self, vocabulary: Mapping[str, int]) -> None:
        hp = self.hparams
        self.vocabulary = dict(vocabulary)
        if not self.vocabulary:
            raise ValueError("the vocabulary is empty")
        self._words = list(self.vocabulary)
        rows = len(self._words) + (hp.buckets if hp.ngrams else 0)
        self.input_vectors = nn.Embedding(rows, hp.dim, sparse=True)
        self.output_vectors = nn.Embedding(len(self._words), hp.dim, sparse=True)
        nn.init.uniform_(self.input_vectors.weight, -0.5 / hp.dim, 0.5 / hp.dim)
        nn.init.zeros_(self.output_vectors.weight)
        self._pool = torch.empty(0, dtype=torch.int32)
        if hp.ngrams:
            self._subword_ids, self._subword_starts = subword_table(self._words, hp.ngrams, hp.buckets)

    def setup(self, stage: str) -> None:
        # NCCL cannot add sparse tensors up; DDP asks the layers before it begins.
        dense = self.trainer.world_size > 1 and self.trainer.strategy.root_device.type == "cuda"
        for table in (self.input_vectors, self.output_vectors) if self.vocabulary else ():
            table.sparse = not dense

    def loss(self, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean over all pairs, in nats."""
        total, self._pairs = self._total_loss(require(batch, TOKENS, self))
        return total / self._pairs.clamp_min(1e-12), {"pairs": self._pairs}

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        # A word's update depends on its own pairs alone, however many others are in the batch: the gradient is that of
        # the sum over all pairs of a step. Lightning divides by accumulated batches, DDP by processes.
        loss = super().training_step(batch, batch_idx)
        return loss * self._pairs * (self.trainer.accumulate_grad_batches * self.trainer.world_size)

    def _total_loss(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """The loss of rows (B, L), summed over all pairs, and the number of pairs."""
        self._require_vocabulary()
        hp, device = self.hparams, self.device.type
        surroundings, sentences = cut_blocks(tokens, hp.block_size, hp.window)
        words = surroundings[:, hp.window : hp.window + hp.block_size]
        noise = self._noise(len(words))
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else self.dtype
        with torch.autocast(device, enabled=False):  # BlockLoss knows what may be in low precision
            pairs = pair_weights(sentences, self._on_device("_band").to(dtype))
            each = pairs.sum(2)  # word's pairs
            if hp.architecture == "skipgram":
                seen, predicted, mix = words, surroundings, None
            else:
                seen, predicted, mix = surroundings, words, pairs / each.clamp_min(1e-6).unsqueeze(2)
                each = (each > 0).to(dtype)
                pairs = torch.diag_embed(each)
            noise_weights = (each * (hp.negatives / hp.shared_negatives)).unsqueeze(2).expand(-1, -1, noise.shape[1])
            weights = torch.cat([pairs, noise_weights], 2)
            loss = self._blocks(seen, torch.cat([predicted, noise], 1), mix, weights, predicted.shape[1])
        return loss, each.sum(dtype=torch.float32)

    def _blocks(self, seen: Tensor, targets: Tensor, mix: Tensor | None, weights: Tensor, real: int) -> Tensor:
        """``block_loss`` of ids: each word of the batch is read from its table once."""
        # Padding takes part as word 0, with weight 0.
        into, out = group(seen.flatten().clamp_min(0)), group(targets.flatten().clamp_min(0))
        inputs, outputs = self._inputs(into.ids), take_rows(self.output_vectors, out.ids)
        return BlockLoss.apply(inputs, outputs, into, out, mix, weights, real)  # type: ignore[no-any-return]

    def _inputs(self, ids: Tensor) -> Tensor:
        """Input vectors (U, D) of words (U,), unique and ascending."""
        if not self.hparams.ngrams:
            return take_rows(self.input_vectors, ids)
        parts, starts = subwords_of(ids, self._on_device("_subword_ids"), self._on_device("_subword_starts"))
        rows = group(parts)
        return F.embedding_bag(rows.inverse, take_rows(self.input_vectors, rows.ids), starts, mode="mean")

    def _noise(self, blocks: int) -> Tensor:
        """Negative samples for each block, (blocks, K) int32: a slice of the pool from a random position on."""
        need = blocks * self.hparams.shared_negatives
        if len(self._pool) < 2 * need:
            counts = torch.tensor(list(self.vocabulary.values()), dtype=torch.double)
            generator = torch.Generator().manual_seed(self._seed)
            size = max(_POOL, 16 * len(counts), 2 * need)
            self._pool = noise_pool(counts, self.hparams.ns_exponent, size, generator)
        pool = self._on_device("_pool")
        start = torch.randint(len(pool) - need + 1, (1,), device=pool.device)
        if pool.is_cpu:
            return pool.narrow(0, int(start), need).view(blocks, -1)
        return pool[torch.arange(need, device=pool.device) + start].view(blocks, -1)  # no synchronisation with the host

    def _on_device(self, name: str) -> Tensor:
        """A constant that is no buffer, since DDP would broadcast it at every step."""
        tensor: Tensor = getattr(self, name)
        if tensor.device != self.device:
            tensor = tensor.to(self.device)
            setattr(self, name, tensor)
        return tensor

    def _require_vocabulary(self) -> None:
        if not self.vocabulary:
            raise ValueError(
                "SkipGramModule has no vocabulary: give it that of data that are text, vocabulary=data.vocabulary"
            )

    def configure_optimizers(self) -> Any:
        self._require_vocabulary()
        optimizer = RowAdagrad(self.parameters(), lr=self.hparams.lr, max_step=self.hparams.max_step)
        return with_schedule(self, optimizer, {"name": "linear", "floor": 1e-4})  # as word2vec does

    def configure_gradient_clipping(
        self, optimizer: Any, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """``max_step`` does that for each row; torch's clipping takes no sparse gradients."""

    # Use of the vectors

    @torch.no_grad()
    def vectors(self) -> Tensor:
        """Vectors of all words, in the order of the vocabulary, (V, D)."""
        ids = torch.arange(len(self.vocabulary), device=self.device)
        return self._inputs(ids).detach().float()

    def encode(self, x: Tensor) -> Tensor:
        """Words (B,) to their vectors, or rows of words (B, L) to the mean of theirs: (B, D)."""
        rows = x if x.ndim == 2 else x.unsqueeze(1)
        known = (rows >= 0).unsqueeze(2)
        found = F.embedding(rows.clamp_min(0).long(), self.vectors())
        return (found * known).sum(1) / known.sum(1).clamp_min(1)

    def to_keyed_vectors(self) -> Any:
        """gensim's ``KeyedVectors``, with sub-words its ``FastTextKeyedVectors``, which knows unknown words, too."""
        hp = self.hparams
        table = self.input_vectors.weight if hp.ngrams else None
        return keyed_vectors(self.vocabulary, self.vectors(), table, hp.ngrams, hp.buckets)

    def nearest(self, word: str, k: int = 10) -> list[tuple[str, float]]:
        """The k words most similar to one, with their cosines.

        Raises:
            ValueError: an unknown word, unless there are sub-words to make its vector of.
        """
        return self.analogy([word], [], k)

    def analogy(self, positive: list[str], negative: list[str], k: int = 10) -> list[tuple[str, float]]:
        """The k words nearest to the sum of some words minus others: king + woman - man.

        Raises:
            ValueError: an unknown word, unless there are sub-words to make its vector of.
        """
        for word in [*positive, *negative]:
            if word not in self.vocabulary and not self.hparams.ngrams:
                close = closest(word, self._words)
                hint = f"; there are {', '.join(map(repr, close))}" if close else ""
                raise ValueError(f"{word!r} is not in the vocabulary of {len(self._words):,} words{hint}")
        return self.to_keyed_vectors().most_similar(positive, negative, topn=k)  # type: ignore[no-any-return]

    def to_embedding(self, freeze: bool = True) -> nn.Embedding:
        """The vectors as the first layer of another module; ids are positions in ``vocabulary``."""
        return nn.Embedding.from_pretrained(self.vectors().clone(), freeze=freeze)

    def save_vectors(self, path: str | Path) -> Path:
        """Write the vectors; the path's suffix is the format: see ``zoo.io.word_vectors.save_vectors``."""
        return save_vectors(self.to_keyed_vectors(), path)

    def export_artifacts(self, folder: Path) -> list[tuple[str, str]]:
        """The vectors, as safetensors and a vocabulary."""
        return [("vectors", f"{self.save_vectors(folder / 'vectors')}/")]

    # Checkpoints

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint["vocabulary"] = self.vocabulary

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        theirs = checkpoint["vocabulary"]
        if not self.vocabulary:
            self._set_vocabulary(theirs)
        if list(theirs) != self._words:
            raise ValueError(
                f"the checkpoint's vocabulary of {len(theirs):,} words is not the {len(self._words):,} of this text: "
                "go on with the text and the options that it was made with"
            )

import lightning.pytorch as pl
import pytest
import torch
from conftest import quiet_trainer
from gensim.models import KeyedVectors

from datamodules.corpus import Corpus
from zoo import SkipGramModule, load_vectors
from zoo.functional.skipgram import block_loss

CLASSIC = ["hello world", "hello python", "hello deep learning"]


class PairByPair(SkipGramModule):
    """The reference: the loss of every pair, whose gradients are left to autograd."""

    def _blocks(self, seen, targets, mix, weights, real):
        rows = self._inputs(torch.arange(len(self.vocabulary)))[seen.clamp_min(0).long()]
        hidden = rows if mix is None else mix.float() @ rows
        return block_loss(hidden, self.output_vectors(targets.clamp_min(0).long()), weights.float(), real)


def trained(sentences=CLASSIC, epochs=2, technique=SkipGramModule, **options):
    pl.seed_everything(0, verbose=False)
    data = Corpus(sentences=sentences, min_count=1, sample=0)
    module = technique(data.vocabulary, **options)
    quiet_trainer(max_epochs=epochs).fit(module, data)
    return module


def batch(words, rows=4, length=40):
    return torch.randint(-1, words, (rows, length), generator=torch.Generator().manual_seed(0))


def test_the_classic_example():
    keyed = trained().to_keyed_vectors()
    assert keyed["hello"].shape == (100,) and keyed.get_vecattr("hello", "count") == 3
    assert set(keyed.index_to_key) == {"hello", "world", "python", "deep", "learning"}


@pytest.mark.parametrize("options", [{}, {"architecture": "cbow"}, {"ngrams": [2, 4], "buckets": 50}])
def test_fast_and_written_out_routes_agree(options):
    """Same pairs, same noise: loss and gradients of the whole module."""
    vocabulary = {f"word{i}": 100 - i for i in range(30)}
    losses, grads = [], []
    for technique in (SkipGramModule, PairByPair):
        torch.manual_seed(0)
        module = technique(vocabulary, dim=12, **options)
        torch.nn.init.normal_(module.output_vectors.weight)
        torch.manual_seed(1)
        loss, _ = module.loss({"tokens": batch(30)})
        loss.backward()
        losses.append(loss.detach())
        grads.append([p.grad.to_dense() if p.grad.is_sparse else p.grad for p in module.parameters()])
    torch.testing.assert_close(*losses, rtol=1e-5, atol=0)
    for fast, slow in zip(*grads, strict=True):
        torch.testing.assert_close(fast, slow, rtol=1e-5, atol=1e-5 * slow.abs().max().item())


def test_loss_at_the_start_is_chance():
    module = SkipGramModule({"a": 3, "b": 2, "c": 1}, negatives=5)
    loss, _ = module.loss({"tokens": batch(3)})
    assert loss.item() == pytest.approx(6 * torch.tensor(2.0).log().item(), rel=1e-4)


def test_words_of_one_meaning_come_together():
    """Two topics that share no word but "and"."""
    generator = torch.Generator().manual_seed(0)
    topics = [["cat", "dog", "cow", "hen", "pig"], ["red", "blue", "green", "black", "white"]]
    picks = torch.randint(0, 5, (600, 6), generator=generator).tolist()
    sentences = [
        [topics[i % 2][p] for p in row[:3]] + ["and"] + [topics[i % 2][p] for p in row[3:]]
        for i, row in enumerate(picks)
    ]
    for architecture in ("skipgram", "cbow"):
        module = trained(sentences, epochs=5, architecture=architecture, dim=20)
        for topic in topics:
            assert {word for word, _ in module.nearest(topic[0], 4)} == set(topic[1:])


def test_hot_rows_stay_finite_where_plain_descent_does_not():
    """One word takes part in every pair of a large batch."""
    sentences = [["the", f"w{i % 50}"] * 4 for i in range(2000)]
    module = trained(sentences, epochs=3, dim=16)
    assert module.vectors().isfinite().all() and module.vectors().norm(dim=1).max() < 20


@pytest.mark.parametrize("end", ["a.txt", "a.bin", "a.kv", "folder"])
def test_vectors_are_read_elsewhere(end, tmp_path):
    module = trained()
    path = module.save_vectors(tmp_path / end)
    if end == "folder":
        vectors, vocabulary = load_vectors(path)
        assert vocabulary == module.vocabulary
    else:
        keyed = KeyedVectors.load(str(path)) if end.endswith("kv") else None
        keyed = keyed or KeyedVectors.load_word2vec_format(str(path), binary=end.endswith("bin"))
        assert list(keyed.index_to_key) == list(module.vocabulary)
        vectors = torch.from_numpy(keyed.vectors)
    torch.testing.assert_close(vectors, module.vectors(), rtol=0, atol=1e-6)
    embedding = module.to_embedding()
    torch.testing.assert_close(embedding(torch.tensor([1])), module.encode(torch.tensor([1])))


def test_sub_words_are_those_of_gensim_and_unknown_words_have_vectors():
    module = trained(ngrams=[3, 5], buckets=100)
    keyed = module.to_keyed_vectors()
    torch.testing.assert_close(torch.from_numpy(keyed.vectors), module.vectors())
    assert "pythons" not in module.vocabulary and module.nearest("pythons", 1)[0][0] == "python"


def test_an_unknown_word_names_close_ones():
    with pytest.raises(ValueError, match="'helo' is not in the vocabulary of 5 words; there are 'hello'"):
        trained(epochs=1).nearest("helo")


def test_without_words_it_says_so():
    with pytest.raises(ValueError, match=r"vocabulary=data\.vocabulary"):
        SkipGramModule().loss({"tokens": batch(3)})


@pytest.mark.parametrize("options, message", [
    ({"dim": 0}, "dim must be"), ({"lr": 0.0}, "lr must be"), ({"ngrams": [4, 3]}, "ngrams is"),
    ({"window": 0}, "window must be"),
])  # fmt: skip
def test_wrong_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        SkipGramModule({"a": 1}, **options)


def test_another_texts_checkpoint_is_refused(tmp_path):
    first, other = trained(epochs=1), SkipGramModule({"some": 2, "words": 1})
    checkpoint = {}
    first.on_save_checkpoint(checkpoint)
    with pytest.raises(ValueError, match="vocabulary of 5 words is not the 2 of this text"):
        other.on_load_checkpoint(checkpoint)


@pytest.mark.parametrize("architecture", ["skipgram", "cbow"])
def test_the_written_out_route_takes_mixed_precision_too(architecture):
    module = trained(epochs=1, architecture=architecture, technique=PairByPair)
    with torch.autocast("cpu", torch.bfloat16):
        loss, _ = module.loss({"tokens": batch(5)})
    assert loss.dtype == torch.float32 and loss.isfinite()


TWO_PROCESSES = """
import os
from pathlib import Path
from test_skipgram import news
loss = news(seed=0, batch_size=4, devices=2, strategy="ddp")
if os.environ.get("LOCAL_RANK", "0") == "0":  # both print to one pipe, and into one another's lines
    Path({out!r}).write_text(str(loss))
"""


def news(seed, batch_size, **options):
    """Loss on held-out news after ten epochs of the rest."""
    pl.seed_everything(seed, verbose=False)
    torch.set_num_threads(1)
    data = Corpus(batch_size=batch_size, seed=0)
    fit = quiet_trainer(max_epochs=10, **options)
    fit.fit(SkipGramModule(data.vocabulary, dim=32), data)
    return fit.callback_metrics["val/loss"].item()


@pytest.mark.long
def test_two_processes_learn_what_one_does(two_processes, tmp_path):
    """Other words of noise, so not the same numbers; but no further from one process than its seeds are apart."""
    two_processes(TWO_PROCESSES, out=str(tmp_path / "loss"))
    two = float((tmp_path / "loss").read_text())
    one = [news(seed, batch_size=8) for seed in range(4)]
    assert min(one) - (max(one) - min(one)) <= two <= max(one) + (max(one) - min(one))

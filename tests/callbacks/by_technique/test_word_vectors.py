from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from gensim.models import KeyedVectors
from gensim.test.utils import datapath
from matplotlib.image import imread

from callbacks.by_technique.word_vectors import (
    WordVectors,
    analogies,
    neighbour_table,
    some_words,
    word_map,
    word_pairs,
    write_projector,
)
from callbacks.figures import save_figure
from zoo import SkipGramModule
from zoo.core.findings import write


def keyed(words, dim=8):
    found = KeyedVectors(dim)
    found.add_vectors(list(words), np.random.default_rng(0).normal(size=(len(words), dim)).astype(np.float32))
    for word in words:
        found.set_vecattr(word, "count", 1)
    return found


def pairs():
    lines = Path(datapath("wordsim353.tsv")).read_text().splitlines()
    return [line.lower().split() for line in lines if not line.startswith("#")]


def test_scores_are_gensims_and_an_unknown_vocabulary_has_none():
    known = keyed(dict.fromkeys(word for pair in pairs() for word in pair[:2]))
    expected = known.evaluate_word_pairs(datapath("wordsim353.tsv"))[1].statistic
    assert word_pairs(known, "wordsim353.tsv") == (pytest.approx(expected), len(pairs()))
    foreign = keyed(["hund", "katze", "maus"])
    assert word_pairs(foreign, "wordsim353.tsv") is None and analogies(foreign) is None


def test_findings_stand_beside_untrained_vectors_and_guessing():
    module = SkipGramModule({"a": 3, "b": 2, "c": 1}, dim=4, negatives=5)
    callback = WordVectors()
    callback._scores = {"wordsim353": (0.31, 280), "analogies": (0.02, 9000)}
    callback._neighbours = [["kabul", "taliban", "afghan"]]
    trainer = SimpleNamespace(callback_metrics={"test/loss": 2.0})
    similarity, questions, loss, kabul = callback.findings(trainer, module)
    z, half = np.arctanh(0.31), 1.96 / np.sqrt(277)  # Fisher's interval
    assert similarity.interval == pytest.approx((np.tanh(z - half), np.tanh(z + half)))
    assert similarity.baselines[0].value == 0 and similarity.baselines[0].chance == pytest.approx(np.tanh(half))
    assert questions.samples == 9000 and questions.baselines[0].chance == pytest.approx(3 / 9000)
    assert loss.baselines[0].value == pytest.approx(6 * np.log(2)) and not loss.higher_is_better
    assert write(kabul) == "taliban, afghan"
    assert callback.findings(trainer, torch.nn.Linear(1, 1)) == []


def test_table_map_and_projector(tmp_path):
    found = keyed([f"word{i}" for i in range(150)])
    words = some_words(found, 50)
    assert words[0] == "word100" and some_words(keyed(["a", "b"]), 50) == ["a", "b"]
    assert all(len(row) == 4 for row in neighbour_table(found, words, 3))
    save_figure(word_map(found, words), tmp_path, "word_map")
    assert imread(tmp_path / "word_map.png").std() > 0.01
    write_projector(found, tmp_path / "projector", 20)
    table = np.loadtxt(tmp_path / "projector/tensors.tsv", delimiter="\t")
    np.testing.assert_allclose(table, found.vectors[:20], rtol=1e-4)
    metadata = (tmp_path / "projector/metadata.tsv").read_text().splitlines()
    assert metadata[0] == "word\tcount" and metadata[1].startswith("word0\t") and len(metadata) == 21
    assert 'tensor_path: "tensors.tsv"' in (tmp_path / "projector/projector_config.pbtxt").read_text()


def test_wrong_options_are_named():
    with pytest.raises(ValueError, match="neighbours must be 1 or more"):
        WordVectors(neighbours=0)

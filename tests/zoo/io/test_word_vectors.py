import json

import pytest
import torch
from gensim.models import KeyedVectors
from safetensors.torch import save_file

from zoo import load_vectors, save_vectors
from zoo.io.word_vectors import keyed_vectors


def keyed(*words):
    return keyed_vectors({word: 9 - i for i, word in enumerate(words)}, torch.arange(2.0 * len(words)).view(-1, 2))


@pytest.mark.parametrize("name", ["v.txt", "v.bin"])
def test_words_with_blanks_are_read_by_gensim(tmp_path, name, caplog):
    words = keyed("new york", "is", "a\tbig\ncity")
    path = save_vectors(words, tmp_path / name)
    found = KeyedVectors.load_word2vec_format(str(path), binary=name.endswith("bin"))
    assert found.index_to_key == ["new_york", "is", "a_big_city"]
    assert found.vectors.tolist() == [[0, 1], [2, 3], [4, 5]]
    assert "blanks within 2 words become '_'" in caplog.text and "'new york'" in caplog.text
    assert words.index_to_key[0] == "new york"


@pytest.mark.parametrize("name", ["v.txt", "v.bin"])
@pytest.mark.parametrize(("words", "says"), [(("", "a"), "an empty word"), (("a b", "a_b"), "'a b' cannot be written")])
def test_words_that_would_be_others_are_refused(tmp_path, name, words, says):
    with pytest.raises(ValueError, match=says):
        save_vectors(keyed(*words), tmp_path / name)
    assert not (tmp_path / name).exists()
    folder = save_vectors(keyed(*words), tmp_path / "folder")
    assert list(load_vectors(folder)[1]) == list(words)


def folder(path, vectors=None, vocabulary=None):
    path.mkdir()
    save_file({"vectors": torch.zeros(2, 3)} if vectors is None else vectors, path / "vectors.safetensors")
    text = vocabulary if isinstance(vocabulary, str) else json.dumps(vocabulary or {"a": 2, "b": 1})
    (path / "vocabulary.json").write_text(text)
    return path


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"vocabulary": '["a", "b"]'}, "is not a vocabulary"),
        ({"vocabulary": '{"a": "2", "b": 1}'}, "is not a vocabulary"),
        ({"vocabulary": '{"a": -2, "b": 1}'}, "is not a vocabulary"),
        ({"vocabulary": '{"a": 2'}, "cannot be read"),
        ({"vocabulary": "[" * 100_000}, "cannot be read"),
        ({"vocabulary": '{"a": 1}'}, "has 2 vectors for 1 words"),
        ({"vectors": {"other": torch.zeros(2, 3)}}, "cannot be read"),
        ({"vectors": {"vectors": torch.zeros(2)}}, "has no vectors"),
        ({"vectors": {"vectors": torch.zeros(2, 3, dtype=torch.int64)}}, "has no vectors"),
        ({"vectors": {"vectors": torch.full((2, 3), torch.nan)}}, "has no vectors"),
    ],
)
def test_damaged_folders_are_one_line(tmp_path, options, says):
    with pytest.raises(ValueError, match=says) as error:
        load_vectors(folder(tmp_path / "v", **options))
    assert str(tmp_path / "v") in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("data", [b"", b"x" * 20, (1 << 60).to_bytes(8, "little") + b"{}"])
def test_damaged_tensors_are_one_line(tmp_path, data):
    path = folder(tmp_path / "v")
    (path / "vectors.safetensors").write_bytes(data)
    with pytest.raises(ValueError, match="cannot be read"):
        load_vectors(path)

import bz2
import gzip
import lzma

import pytest
import torch

from datamodules.text import NumberedText, choose_vocabulary, keep_probability, words_of
from datamodules.text_files import read_pieces, text_files

TEXT = "the cat sat\non the mat\n\nthe end\n"


def test_packed_files_and_small_pieces_give_the_same_text(tmp_path):
    openers = {"a.txt": open, "a.gz": gzip.open, "a.bz2": bz2.open, "a.xz": lzma.open}
    for name, opener in openers.items():
        with opener(tmp_path / name, "wb") as file:
            file.write(TEXT.encode())
        for size in (4, 7, 1 << 20):
            assert "".join(read_pieces(tmp_path / name, size=size)) == TEXT


@pytest.mark.parametrize("unit, sentences", [("line", 4), ("paragraph", 1), ("file", 0)])
@pytest.mark.parametrize("tokeniser", ["simple", "whitespace"])
def test_what_ends_a_sentence(unit, sentences, tokeniser):
    words = words_of(TEXT, unit, tokeniser)
    assert words.count("\0") == sentences
    assert [word for word in words if word != "\0"] == TEXT.split()


def test_bytes_that_are_not_utf8(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"good words \xff bad \xc3\xa9t\xc3\xa9 \xfe")
    with pytest.warns(UserWarning, match="2 places are not UTF-8"):
        assert "".join(read_pieces(path)).split()[-2] == "\xe9t\xe9"
    with pytest.raises(ValueError, match="byte 11 is not UTF-8"):
        list(read_pieces(path, "strict", size=5))


def test_a_damaged_file_is_named(tmp_path):
    (tmp_path / "a.gz").write_bytes(gzip.compress(TEXT.encode() * 1000)[:-20])
    with pytest.raises(ValueError, match=r"a\.gz is damaged"):
        list(read_pieces(tmp_path / "a.gz"))
    with pytest.raises(FileNotFoundError, match="no text at"):
        text_files(tmp_path / "none")


def test_vocabulary_is_that_of_gensim():
    from gensim.models import Word2Vec

    sentences = [["b", "a", "a"], ["c", "b", "a", "d"]] * 3 + [["rare"]]
    text = NumberedText([[*sentence, "\0"] for sentence in sentences])
    found = choose_vocabulary(text, 2, None)
    theirs = Word2Vec(sentences, min_count=2, sample=1e-1).wv
    assert found == {word: theirs.get_vecattr(word, "count") for word in theirs.index_to_key}
    kept = keep_probability(torch.tensor(list(found.values())), 1e-1)
    expected = torch.tensor([theirs.get_vecattr(word, "sample_int") / 2**32 for word in found])
    torch.testing.assert_close(kept, expected, atol=1e-5, rtol=1e-5, check_dtype=False)
    assert list(choose_vocabulary(text, 1, 2)) == ["a", "b"]


def test_an_emptied_vocabulary_says_what_to_set():
    with pytest.raises(ValueError, match="of 2 different words the most frequent, 'a', occurs 2 times; set"):
        choose_vocabulary(NumberedText([["a", "b", "a"]]), 5, None)
    with pytest.raises(ValueError, match="the text is empty"):
        choose_vocabulary(NumberedText([]), 5, None)

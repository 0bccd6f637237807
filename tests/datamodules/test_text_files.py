import bz2
import gzip
import lzma
import os
import zipfile

import pytest

from datamodules.corpus import Corpus
from datamodules.text_files import read_pieces, text_files

TEXT = "größer Bär Käse\ncafé naïve\n" * 5


def written(folder, data, name="a.txt"):
    (folder / name).parent.mkdir(exist_ok=True, parents=True)
    (folder / name).write_bytes(data)
    return folder / name


def names(folder):
    return [path.name for path in text_files(folder)]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("size", [7, 64, 1 << 20])
def test_marks_say_the_encoding(tmp_path, encoding, size):
    path = written(tmp_path, TEXT.encode(encoding))
    assert "".join(read_pieces(path, size=size)) == TEXT


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-16-be", "utf-16-le", "utf-8", "utf-7"])
def test_an_encoding_that_is_told(tmp_path, encoding):
    path = written(tmp_path, TEXT.encode(encoding))
    assert text_files(path, encoding) == [path]
    assert "".join(read_pieces(path, "strict", 10, encoding)) == TEXT


def test_chinese_and_japanese_encodings(tmp_path):
    for encoding, text in {"gbk": "我 爱 北京\n", "big5": "我 愛 台灣\n", "iso2022_jp": "日本 語\n"}.items():
        path = written(tmp_path, (text * 30).encode(encoding))
        assert "".join(read_pieces(path, "strict", 16, encoding)) == text * 30
    with pytest.raises(ValueError, match=r"`data\.encoding` 'klingon' is not known"):
        Corpus(str(path), encoding="klingon")


@pytest.mark.parametrize("encoding", ["latin-1", "gbk"])
def test_a_text_in_another_encoding_is_refused_with_line_and_remedy(tmp_path, encoding):
    text = "plain\n" + ("größer Bär Käse café\n" if encoding == "latin-1" else "我 爱 北京 天安门\n") * 10
    path = written(tmp_path, text.encode(encoding))
    with pytest.raises(ValueError, match=r"a\.txt: line 2 is not UTF-8: say which encoding.*`data\.encoding` latin-1"):
        list(read_pieces(path))
    with pytest.warns(UserWarning, match="places are not UTF-8 and were replaced, the first in line 2"):
        assert "\ufffd" in "".join(read_pieces(path, encoding="utf-8"))


def test_strict_names_line_and_byte(tmp_path):
    path = written(tmp_path, b"good\nwords \xff\n")
    with pytest.raises(ValueError, match=r"a\.txt: line 2: byte 11 is not UTF-8: .*`data\.encoding`"):
        list(read_pieces(path, "strict"))


@pytest.mark.parametrize(("ending", "opener"), [(".TXT.GZ", gzip), (".Bz2", bz2), (".XZ", lzma)])
def test_endings_in_any_case_and_changed_bits(tmp_path, ending, opener):
    data = opener.compress((TEXT * 400).encode())
    path = written(tmp_path, data, f"a{ending}")
    assert "".join(read_pieces(path)) == TEXT * 400
    for place in range(2, len(data), 5):  # none passes unnoticed, whatever part of the file it is in
        changed = bytearray(data)
        changed[place] ^= 16
        try:
            text = "".join(read_pieces(written(tmp_path, changed, f"b{ending}"), "strict"))
        except ValueError as error:
            assert f"b{ending} is damaged" in str(error) or "is not UTF-8" in str(error)
        else:
            assert text == TEXT * 400  # a byte that says nothing of the text, such as the time
    with pytest.raises(ValueError, match="is damaged"):
        list(read_pieces(written(tmp_path, data[:-9], f"c{ending}")))
    with pytest.raises(ValueError, match="is damaged"):
        text_files(written(tmp_path, data[:2] + bytes(50), f"d{ending}"))


def test_other_line_ends_and_zero_bytes_far_inside(tmp_path):
    path = written(tmp_path, b"one two\r\nthree\rfour\n" + b"x " * 8000 + b"\0 y")
    text = "".join(read_pieces(path, size=100))
    assert text.startswith("one two\nthree\nfour\n") and "\0" not in text


def test_files_that_are_not_text(tmp_path, caplog):
    written(tmp_path, b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" * 9, "a.png")
    written(tmp_path, bytes(range(1, 256)) * 9, "b.bin")
    with zipfile.ZipFile(tmp_path / "c.zip", "w") as archive:
        archive.writestr("x.txt", TEXT)
    written(tmp_path, TEXT.encode(), "d.txt")
    assert names(tmp_path) == ["d.txt"]
    assert "left out 3 of 4 files that are not text" in caplog.text and "c.zip" in caplog.text
    with pytest.raises(ValueError, match=r"a\.png is not text: it has zero bytes"):
        text_files(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"e\.txt is not text: it seems UTF-16 .*: `data\.encoding` utf-16-be"):
        text_files(written(tmp_path, TEXT.encode("utf-16-be"), "e.txt"))
    (tmp_path / "d.txt").unlink()
    with pytest.raises(ValueError, match="not one of 4 files below"):
        text_files(tmp_path)


def test_links_are_followed_once(tmp_path, caplog):
    outside = written(tmp_path / "outside", TEXT.encode()).parent
    root = written(tmp_path / "root" / "real", TEXT.encode(), "b.txt").parent.parent
    written(root / ".hidden", b"x y", "h.txt")
    written(root, b"x y", ".hidden.txt")
    (root / "linked").symlink_to(outside, target_is_directory=True)
    (root / "again").symlink_to(outside, target_is_directory=True)
    (root / "a_loop").symlink_to(root, target_is_directory=True)
    (root / "a_copy").symlink_to(root / "real", target_is_directory=True)
    (root / "file.txt").symlink_to(outside / "a.txt")
    (root / "nowhere.txt").symlink_to(tmp_path / "none")
    found = text_files(root)
    assert len(found) == 2 and {os.path.realpath(path) for path in found} == {
        os.path.realpath(outside / "a.txt"),
        os.path.realpath(root / "real" / "b.txt"),
    }
    assert root / "real" / "b.txt" in found and "left out 1 links that lead nowhere" in caplog.text

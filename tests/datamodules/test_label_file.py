import logging

import pytest
import torch
from PIL import Image

from datamodules.folder import Folder
from datamodules.label_file import read_labels


def written(folder, text):
    (folder / "labels.csv").write_text(text)
    return folder / "labels.csv"


def images(root, count=12):
    for i in range(count):
        path = root / ("deep" if i % 2 else "") / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (9, 9), 10 * i).save(path)


def name(i):
    return f"{'deep/' if i % 2 else ''}{i}.png"


def told(root, text, **options):
    """Each image's number by its brightness, and its label, of all parts."""
    data = Folder(str(root), size=8, channels=1, labels=str(written(root, text)), **options)
    data.setup()
    found = {}
    for split in data.splits.values():
        for image, label in zip(split.images, split.labels, strict=True):
            found[round(image.float().mean().item() / 10)] = label
    return data, found


def test_classes(tmp_path):
    images(tmp_path)
    text = "path,kind\n" + "".join(f"{name(i)},{'even' if i % 2 == 0 else 'odd'}\n" for i in range(11))
    data, found = told(tmp_path, text)
    assert data.class_names == ["even", "odd"] and data.num_classes == 2 and data.task == "classification"
    assert {i: int(label) for i, label in found.items()} == {**{i: i % 2 for i in range(11)}, 11: -1}


@pytest.mark.parametrize("first", ["path,kind\n", "file.name,kind\n", ""])
def test_with_and_without_a_line_of_names(first, tmp_path):
    """Without, the first line is an image's as the others are."""
    text = first + "./0.png,10\ndeep/1.png,9\n2.png,10\n"
    labels = read_labels(written(tmp_path, text), "classification")
    assert labels.names == ["9", "10"]  # numbers by their size, as in tables
    assert labels.of(["0.png", "deep/1.png", "2.png", "3.png"]).tolist() == [1, 0, 1, -1]


def test_numbers_without_a_line_of_names(tmp_path):
    labels = read_labels(written(tmp_path, "a.png,1,2\nb.png,3,4\n"), "regression")
    assert labels.names == ["0", "1"] and labels.of(["a.png", "b.png"]).tolist() == [[1, 2], [3, 4]]


def test_several_classes(tmp_path):
    images(tmp_path, 6)
    text = "path,kinds\n" + "".join(f"{name(i)},{';'.join(['a'] * (i % 2) + ['b'] * (i > 2))}\n" for i in range(5))
    data, found = told(tmp_path, text, task="multilabel")
    assert data.class_names == ["a", "b"]
    for i in range(5):
        assert found[i].tolist() == [i % 2, int(i > 2)]
    assert found[5].isnan().all()
    assert next(iter(data.train_dataloader()))["label"].shape[1] == 2


def test_numbers(tmp_path):
    images(tmp_path, 6)
    text = "path,size,age\n" + "".join(f"{name(i)}, {i / 4}, {-i}\n" for i in range(6))
    data, found = told(tmp_path, text, task="regression")
    assert data.class_names == ["size", "age"] and data.num_classes == 2
    assert {i: label.tolist() for i, label in found.items()} == {i: [i / 4, -i] for i in range(6)}


def test_rows_without_an_image_are_counted_and_named(tmp_path, caplog):
    images(tmp_path, 6)
    with caplog.at_level(logging.WARNING):
        told(tmp_path, "path,kind\n0.png,a\n2.png,b\nnone.png,b\n")
    assert "1 of 3 paths" in caplog.text and "none.png" in caplog.text
    with pytest.raises(ValueError, match=r"no path in .*labels\.csv is of an image under"):
        told(tmp_path, "path,kind\nx.png,a\ny.png,b\n")


@pytest.mark.parametrize(
    ("text", "task", "message"),
    [
        ("path,kind\n", "classification", "has no rows"),
        ("path\na\n", "classification", "1 columns"),
        ("path,a,b\nx,1,2\n", "classification", "3 columns; a path and one column"),
        ("path,kind\nx,a\ny\n", "classification", "line 3 has 1 cells, and the first has 2"),
        ("path,kind\nx,a\n./x,b\n", "classification", "'x' stands in line 2 and again in line 3"),
        ("path,kind\nx,a\ny,a\n", "classification", r"1 class\(es\): nothing to tell apart"),
        ("path,size\nx,1\ny,big\n", "regression", r"line 3 has \['big'\], not all of them numbers"),
        ("path,size\nx,inf\n", "regression", "line 2 has infinity"),
        ("path,size\nx,nan\n", "regression", "every label is missing"),
    ],
)
def test_mistakes_are_named_by_line(text, task, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        read_labels(written(tmp_path, text), task)


def test_what_goes_together(tmp_path):
    with pytest.raises(FileNotFoundError, match="no file of labels at"):
        read_labels(tmp_path / "none.csv", "classification")
    with pytest.raises(ValueError, match=r"`data\.task` 'regression' needs a file of labels"):
        Folder(str(tmp_path), task="regression")
    with pytest.raises(ValueError, match=r"`data\.labels_per_class` is for classes"):
        Folder(str(tmp_path), task="regression", labels="a.csv", labels_per_class=3)
    assert torch.is_tensor(read_labels(written(tmp_path, "p,k\nx,a\ny,b\n"), "classification").of(["x"]))


def read(tmp_path, text, task="classification", encoding="utf-8"):
    (tmp_path / "labels.csv").write_bytes(text.encode(encoding))
    return read_labels(tmp_path / "labels.csv", task)


@pytest.mark.parametrize("missing", ["", " ", "NA", "nan", "NaN", "None", "null", "NULL", "N/A", "-1", "?"])
def test_missing_labels_are_no_class(tmp_path, missing, caplog):
    found = read(tmp_path, f"path,kind\na.png,x\nb.png,{missing}\nc.png,y\n")
    assert found.names == ["x", "y"] and found.of(["a.png", "b.png", "c.png"]).tolist() == [0, -1, 1]
    assert "1 of 3 labels are missing" in caplog.text and "labels.csv" in caplog.text


def test_minus_one_beside_one_is_a_class(tmp_path):
    found = read(tmp_path, "path,kind\na.png,1\nb.png,-1\n")
    assert found.names == ["-1", "1"] and found.of(["a.png", "b.png"]).tolist() == [1, 0]


def test_missing_values_and_sets_of_classes(tmp_path, caplog):
    found = read(tmp_path, "path,u,v\na.png,1,2\nb.png,NA,3\nc.png,-1,0\n", "regression")
    values = found.of(["a.png", "b.png", "c.png"])
    assert values[1].isnan().all() and values[[0, 2]].tolist() == [[1, 2], [-1, 0]]
    assert "1 of 3 labels are missing" in caplog.text
    found = read(tmp_path, "path,kinds\na.png,x;y\nb.png,NA\nc.png,\n", "multilabel")
    sets = found.of(["a.png", "b.png", "c.png"])
    assert found.names == ["x", "y"] and sets[1].isnan().all() and sets[[0, 2]].tolist() == [[1, 1], [0, 0]]


@pytest.mark.parametrize("separator", [";", "\t", ","])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_separators_and_marks(tmp_path, separator, encoding):
    text = "".join(f"{name}{separator}{kind}\n" for name, kind in [("path", "kind"), ("a.png", "Bär"), ("b.png", "b")])
    assert read(tmp_path, text, encoding=encoding).names == ["Bär", "b"]


def test_decimal_commas(tmp_path):
    found = read(tmp_path, "path;size\na.png;0,5\nb.png;1,25\n", "regression")
    assert found.of(["a.png", "b.png"]).tolist() == [[0.5], [1.25]]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"path,kind\na.png,x\nb.png,B\xe4r\n", r"labels\.csv: line 3 is not utf-8: save it as UTF-8"),
        (b'path,kind\na.png,x\nb.png,"y\n', r"labels\.csv: a quotation mark is never closed, that in line 3"),
        (b"path,kind\na.png,x\n,y\n", "line 3 has no path"),
        (b"path,kind\na.png,NA\nb.png,\n", r"names 0 class\(es\)"),
    ],
)
def test_what_cannot_be_read_is_one_line(tmp_path, text, says):
    (tmp_path / "labels.csv").write_bytes(text)
    with pytest.raises(ValueError, match=says):
        read_labels(tmp_path / "labels.csv", "classification")

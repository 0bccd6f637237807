import csv

import numpy as np
import pytest
import torch
from conftest import quiet_trainer
from PIL import Image

from callbacks.predictions.writer import Predictions, as_table
from datamodules.folder import Folder
from datamodules.images import Digits
from zoo import AutoencoderModule, FinetuneModule

SHAPE, NAMES = (1, 8, 8), list("0123456789")


def module():
    torch.manual_seed(0)
    return FinetuneModule(SHAPE, 10, NAMES, backbone={"name": "conv", "width": 8}).eval()


def everything():
    data = Digits()
    data.setup()
    return data.splits["test"].images / 255


def read(folder):
    with (folder / "predictions.csv").open(newline="") as file:
        return list(csv.reader(file))


def check(lines):
    """Against the module's own outputs, in the data's order."""
    expected = module().classify(everything())
    assert lines[0] == ["path", "class", *NAMES] and len(lines) == len(expected) + 1
    assert [line[0] for line in lines[1:]] == [str(i) for i in range(len(expected))]
    assert [int(line[1]) for line in lines[1:]] == expected.argmax(1).tolist()
    found = torch.tensor([[float(p) for p in line[2:]] for line in lines[1:]])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_every_sample_once_and_in_order(tmp_path, capsys):
    trainer = quiet_trainer(tmp_path, callbacks=[Predictions()])
    trainer.predict(module(), Digits(batch_size=50))
    check(read(tmp_path))
    assert f"359 predictions in {tmp_path}/predictions.csv" in capsys.readouterr().out


TWO = """
from test_writer import Digits, Predictions, module, quiet_trainer
trainer = quiet_trainer({folder!r}, callbacks=[Predictions()], devices=2, strategy="ddp")
trainer.predict(module(), Digits(batch_size=50), return_predictions=False)
"""


@pytest.mark.long
def test_two_processes_write_one_file(two_processes, tmp_path):
    """Of 359 samples one goes to both."""
    two_processes(TWO)
    check(read(tmp_path))


def test_codes_of_other_modules(tmp_path):
    coder = AutoencoderModule(SHAPE, latent_dim=3).eval()
    quiet_trainer(tmp_path, callbacks=[Predictions()]).predict(coder, Digits(batch_size=50))
    with torch.no_grad():
        np.testing.assert_allclose(np.load(tmp_path / "codes.npy"), coder.encode(everything()), atol=1e-5)
    assert [path.name for path in tmp_path.iterdir()] == ["codes.npy"]


@pytest.mark.parametrize("in_memory", [True, False])
def test_folders_in_order_without_what_cannot_be_read(tmp_path, in_memory):
    """Read by workers, too, where a whole batch may be of unreadable files."""
    for i in range(11):
        Image.new("L", (8, 8), 20 * i).save(tmp_path / f"{i:02}.png")
    for i in range(4):
        (tmp_path / f"0{i}.png").write_bytes(b"not an image")
    data = Folder(str(tmp_path), size=8, channels=1, batch_size=3, in_memory=in_memory, num_workers=2)
    quiet_trainer(tmp_path, callbacks=[Predictions()]).predict(module(), data)
    lines = read(tmp_path)[1:]
    assert [line[0] for line in lines] == [str(tmp_path / f"{i:02}.png") for i in range(4, 11)]
    x = torch.stack([torch.full(SHAPE, 20 * i / 255) for i in range(4, 11)])
    found = torch.tensor([[float(p) for p in line[2:]] for line in lines])
    torch.testing.assert_close(found, module().classify(x), atol=1e-5, rtol=1e-4)


def test_nothing_that_can_be_read_is_said(tmp_path):
    (tmp_path / "a.png").write_bytes(b"not an image")
    data = Folder(str(tmp_path), size=8, channels=1, in_memory=False, num_workers=0)
    with pytest.raises(ValueError, match="not one sample could be read"):
        quiet_trainer(tmp_path, callbacks=[Predictions()]).predict(module(), data)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_what_classifies_without_a_task_gives_codes(tmp_path):
    class Own(AutoencoderModule):
        def classify(self, x):
            return x

    quiet_trainer(tmp_path, callbacks=[Predictions()]).predict(Own(SHAPE, latent_dim=3), Digits())
    assert [path.name for path in tmp_path.iterdir()] == ["codes.npy"]


@pytest.mark.parametrize(
    ("task", "names", "lines"),
    [
        ("classification", ["cat", "dog"], [["path", "class", "cat", "dog"], ["a", "dog", "0.25", "0.75"]]),
        ("multilabel", ["cat", "dog"], [["path", "class", "cat", "dog"], ["a", "dog", "0.25", "0.75"]]),
        ("regression", [], [["path", "value_0", "value_1"], ["a", "0.25", "0.75"]]),
        ("regression", ["length", "age"], [["path", "length", "age"], ["a", "0.25", "0.75"]]),
    ],
)
def test_tables(task, names, lines):
    assert as_table(["a"], torch.tensor([[0.25, 0.75]]), task, names) == lines


def test_several_classes_at_once():
    lines = as_table([7], torch.tensor([[0.6, 0.2, 0.9]]), "multilabel", [])
    assert lines == [["path", "class", "0", "1", "2"], [7, "0;2", "0.6", "0.2", "0.9"]]


def test_a_task_of_ones_own_has_its_values():
    lines = as_table(["a.png"], torch.tensor([[0.25, 3.0]]), "mine.Task", ["x", "y"])
    assert lines == [["path", "x", "y"], ["a.png", "0.25", "3"]]

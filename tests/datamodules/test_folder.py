import logging
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import ROOT
from PIL import Image

from datamodules.folder import Folder


def image(path, value=100, size=(30, 20), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value if mode == "L" else (value,) * len(mode)).save(path)


def classes(root, count=10):
    """Two classes, told apart by brightness, one of them nested deeper, of all sizes and modes."""
    for i in range(count):
        image(root / "ants" / f"{i}.png", 20, (20 + i, 30), "L" if i % 2 else "RGB")
        image(root / "bees" / "deep" / f"{i}.jpg", 200, (30, 20 + i))


def loaded(root, **options):
    data = Folder(str(root), size=8, **options)
    data.setup()
    return data


def test_sub_folders_are_classes_and_a_validation_part_is_made(tmp_path):
    classes(tmp_path)
    data = loaded(tmp_path)
    assert (data.class_names, data.num_classes, data.input_shape) == (["ants", "bees"], 2, (3, 8, 8))
    sizes = {part: len(split.images) for part, split in data.splits.items()}
    assert sizes == {"train": 16, "val": 2, "test": 2}
    for split in data.splits.values():
        bright = split.images.float().mean((1, 2, 3)) > 100
        assert torch.equal(bright.long(), split.labels)


def test_flat_images_are_unlabelled(tmp_path):
    for i in range(10):
        image(tmp_path / f"{i}.webp")
    data = loaded(tmp_path)
    assert data.num_classes is None and data.splits["train"].labels is None
    assert next(iter(data.train_dataloader())).keys() == {"input", "index", "seed"}


def test_a_single_sub_folder_distinguishes_nothing(tmp_path):
    for i in range(4):
        image(tmp_path / "all" / f"{i}.png")
    assert loaded(tmp_path).num_classes is None


def test_given_parts_are_kept(tmp_path):
    classes(tmp_path / "train", 6)
    classes(tmp_path / "val", 2)
    splits = loaded(tmp_path).splits
    assert {part: len(split.images) for part, split in splits.items()} == {"train": 12, "val": 4, "test": 4}


def test_unreadable_files_are_left_out_counted_and_named(tmp_path, caplog):
    classes(tmp_path)
    (tmp_path / "ants" / "broken.png").write_bytes(b"not an image")
    (tmp_path / "bees" / "empty.jpg").touch()
    with caplog.at_level(logging.WARNING):
        data = loaded(tmp_path)
    assert sum(len(data.splits[part].images) for part in ("train", "val", "test")) == 20
    assert "2 of 22" in caplog.text and "broken.png" in caplog.text and "empty.jpg" in caplog.text
    with pytest.raises(ValueError, match=r"broken\.png"):
        loaded(tmp_path, strict=True)


@pytest.mark.parametrize("workers", [0, 2])
def test_streaming_gives_the_same_images(tmp_path, workers):
    rng = np.random.default_rng(0)
    for i in range(20):
        noise = Image.fromarray(rng.integers(0, 255, (12, 9, 3), dtype=np.uint8))
        (tmp_path / "ab"[i % 2]).mkdir(exist_ok=True)
        noise.save(tmp_path / "ab"[i % 2] / f"{i}.png")
    kept, streamed = loaded(tmp_path), loaded(tmp_path, in_memory=False, num_workers=workers)
    for mine, other in zip(kept.train_dataloader(), streamed.train_dataloader(), strict=True):
        other = streamed.on_before_batch_transfer(other, 0)
        assert mine.keys() == other.keys() and mine["seed"] == other["seed"]
        assert torch.equal(mine["input"], other["input"]) and torch.equal(mine["label"], other["label"])


def test_streaming_names_unreadable_files_once(tmp_path, caplog):
    classes(tmp_path)
    (tmp_path / "ants" / "broken.png").write_bytes(b"not an image")
    data = loaded(tmp_path, in_memory=False, num_workers=0)
    with caplog.at_level(logging.WARNING):
        loaders = (data.train_dataloader(), data.val_dataloader(), data.test_dataloader()) * 2
        total = sum(len(data.on_before_batch_transfer(batch, 0)["input"]) for loader in loaders for batch in loader)
    assert total == 40 and caplog.text.count("broken.png") == 1


@pytest.mark.parametrize("make", [lambda p: None, lambda p: p.mkdir(), lambda p: (p / "train").mkdir(parents=True)])
def test_nothing_there_is_said(tmp_path, make):
    make(tmp_path / "photos")
    with pytest.raises(FileNotFoundError, match="photos"):
        loaded(tmp_path / "photos")


def test_one_image_is_too_few(tmp_path):
    image(tmp_path / "only.png")
    with pytest.raises(ValueError, match="too few"):
        loaded(tmp_path)


def test_a_budget_without_labels_is_refused(tmp_path):
    for i in range(9):
        image(tmp_path / f"{i}.png")
    with pytest.raises(ValueError, match="have none"):
        loaded(tmp_path, labels_per_class=1)


def test_a_budget_of_streamed_images(tmp_path):
    classes(tmp_path)
    data = loaded(tmp_path, in_memory=False, labels_per_class=3, labelled_only=True, num_workers=0)
    assert data.splits["train"].labels.bincount().tolist() == [3, 3] and len(data.splits["train"].images) == 6


def test_real_photographs(real_data):
    data = loaded(real_data / "hymenoptera_data")
    assert {part: len(s.images) for part, s in data.splits.items()} == {"train": 244, "val": 153, "test": 153}
    assert data.class_names == ["ants", "bees"]


@pytest.mark.parametrize("in_memory", [True, False])
def test_new_images_wherever_they_are(tmp_path, in_memory):
    image(tmp_path / "b" / "2.png", 20)
    image(tmp_path / "1.png", 200)
    (tmp_path / "a.png").write_text("no image")
    data = Folder(str(tmp_path), size=8, in_memory=in_memory, num_workers=0)
    data.setup("predict")
    batches = [data.on_before_batch_transfer(batch, 0) for batch in data.predict_dataloader()]
    batch = data.on_after_batch_transfer(batches[0], 0)
    assert batch.keys() == {"input", "index"} and len(batches) == 1
    read = {data.names[i]: round(x.mean().item() * 255) for i, x in zip(batch["index"], batch["input"], strict=True)}
    assert read == {str(tmp_path / "1.png"): 200, str(tmp_path / "b" / "2.png"): 20}


def test_a_single_new_image_will_do_and_none_will_not(tmp_path):
    with pytest.raises(FileNotFoundError, match="no images under"):
        Folder(str(tmp_path), size=8).setup("predict")
    image(tmp_path / "1.png")
    data = Folder(str(tmp_path), size=8)
    data.setup("predict")
    assert data.names == [str(tmp_path / "1.png")]


TWO = """
import multiprocessing, sys
sys.path[:0] = [{tests!r}, {root!r}]
from conftest import quiet_trainer
from datamodules.folder import Folder
from zoo import AutoencoderModule
data = Folder({folder!r}, size=8, batch_size=3, val_fraction=0.3, in_memory=False, num_workers=1)
trainer = quiet_trainer(devices=2, strategy="ddp", max_epochs=2)
trainer.fit(AutoencoderModule((3, 8, 8)), data)
trainer.test(trainer.lightning_module, data, verbose=False)
sys.exit(len(multiprocessing.active_children()))
"""


@pytest.mark.long
def test_two_processes_stream(tmp_path):
    """Each its own share, which Lightning must not divide again; the workers end with the run."""
    for i in range(20):
        image(tmp_path / "photos" / f"{i}.png", 10 * i)
    names = {"tests": str(ROOT / "tests"), "root": str(ROOT), "folder": str(tmp_path / "photos")}
    (tmp_path / "two.py").write_text(TWO.format(**names))
    done = subprocess.run([sys.executable, str(tmp_path / "two.py")], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr

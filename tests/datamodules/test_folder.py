import logging

import numpy as np
import pytest
import torch
from conftest import quiet_trainer
from PIL import Image

from datamodules.folder import Folder
from zoo import AutoencoderModule, PCAModule


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


@pytest.mark.parametrize(
    "train, val, test", [("Train", "VAL", "Test"), ("training", "validation", "testing"), ("TRAIN", "Valid", "TESTING")]
)
def test_parts_by_their_names_in_any_case(tmp_path, train, val, test):
    for name, count in ((train, 6), (val, 2), (test, 3)):
        classes(tmp_path / name, count)
    data = loaded(tmp_path)
    assert {part: len(split.images) for part, split in data.splits.items()} == {"train": 12, "val": 4, "test": 6}
    assert data.class_names == ["ants", "bees"] and not data.test_is_validation


def test_two_folders_for_one_part_are_refused(tmp_path):
    classes(tmp_path / "val", 2)
    classes(tmp_path / "Validation", 2)
    with pytest.raises(ValueError, match="Validation and val, which are both its val part"):
        loaded(tmp_path)


def test_a_test_part_beside_the_classes_is_no_class(tmp_path, caplog):
    classes(tmp_path)
    classes(tmp_path / "Test", 2)
    data = loaded(tmp_path)
    assert data.class_names == ["ants", "bees"] and len(data.splits["test"].images) == 4
    assert sum(len(data.splits[part].images) for part in ("train", "val")) == 20
    assert "Test/ is its test part, and the rest for training" in caplog.text


def test_a_test_part_alone_is_nothing_to_train_on(tmp_path):
    classes(tmp_path / "test", 2)
    with pytest.raises(FileNotFoundError, match="no train/ beside"):
        loaded(tmp_path)


def test_images_outside_of_the_parts_are_counted(tmp_path, caplog):
    classes(tmp_path / "train", 4)
    classes(tmp_path / "more", 3)
    (tmp_path / "train" / "ants" / "1.heic").touch()
    assert len(loaded(tmp_path).splits["train"].images) < 8
    assert "6 image(s) outside of its parts" in caplog.text and "1 .heic (to read them: pip install" in caplog.text


def test_a_folder_around_the_divided_one_is_told(tmp_path, caplog):
    for part in ("train", "test"):
        classes(tmp_path / "photos" / part, 2)
    loaded(tmp_path)
    assert "photos, whose train, test are not kept apart: is that the `data.root`?" in caplog.text


def test_linked_classes(tmp_path):
    classes(tmp_path / "elsewhere")
    (tmp_path / "root").mkdir()
    for name in ("ants", "bees"):
        (tmp_path / "root" / name).symlink_to(tmp_path / "elsewhere" / name)
    (tmp_path / "root" / "bees" / "back").symlink_to(tmp_path / "root")
    data = loaded(tmp_path / "root")
    assert data.class_names == ["ants", "bees"] and len(data.splits["train"].images) == 16


@pytest.mark.parametrize("parts, said", [(("train", "val"), True), (("train", "val", "test"), False), (("",), False)])
def test_whether_validation_is_the_test(tmp_path, parts, said):
    for part in parts:
        classes(tmp_path / part, 4)
    assert loaded(tmp_path).test_is_validation is said


def test_a_class_that_training_does_not_have_is_named(tmp_path):
    classes(tmp_path / "train", 4)
    classes(tmp_path / "val", 2)
    image(tmp_path / "val" / "Ants" / "1.png")
    with pytest.raises(ValueError, match=r"val has Ants, which the training images do not have: .* ants, bees"):
        loaded(tmp_path)


def test_a_test_set_elsewhere(tmp_path):
    classes(tmp_path / "photos")
    image(tmp_path / "new" / "bees" / "1.png", 200)
    data = loaded(tmp_path / "photos", test_root=str(tmp_path / "new"))
    assert {part: len(split.images) for part, split in data.splits.items()} == {"train": 18, "val": 2, "test": 1}
    assert data.splits["test"].labels.tolist() == [1] and not data.test_is_validation
    image(tmp_path / "new" / "wasps" / "1.png", 200)
    with pytest.raises(ValueError, match="new has wasps, which the training images do not have"):
        loaded(tmp_path / "photos", test_root=str(tmp_path / "new"))


def test_a_test_set_takes_the_place_of_the_folders_own(tmp_path, caplog):
    for name in ("train", "val", "test"):
        classes(tmp_path / "photos" / name, 4)
    classes(tmp_path / "new", 1)
    assert len(loaded(tmp_path / "photos", test_root=str(tmp_path / "new")).splits["test"].images) == 2
    assert "8 image(s) in test" in caplog.text


def labelled(root, rows):
    for name, _ in rows:
        image(root / name, 100)
    (root / "labels.csv").write_text("path,label\n" + "".join(f"{name},{label}\n" for name, label in rows))
    return str(root / "labels.csv")


def test_a_test_set_with_a_file_of_labels_in_another_order(tmp_path, caplog):
    labels = labelled(tmp_path / "photos", [(f"{i}.png", "cba"[i % 3]) for i in range(12)])
    rows = [("x.png", "c"), ("y.png", "b"), ("z.png", "c"), ("deep/w.png", "b")]
    test_labels = labelled(tmp_path / "new", rows)
    image(tmp_path / "new" / "v.png")
    options = {"test_root": str(tmp_path / "new"), "test_labels": test_labels}
    data = loaded(tmp_path / "photos", labels=labels, **options)
    assert data.class_names == ["a", "b", "c"]
    assert data.splits["test"].labels.tolist() == [1, -1, 2, 1, 2]  # deep/w, v, x, y, z
    assert "left out" not in caplog.text
    labelled(tmp_path / "new", [("x.png", "d"), ("y.png", "b")])
    with pytest.raises(ValueError, match=r"labels\.csv has d, which the training images do not have"):
        loaded(tmp_path / "photos", labels=labels, **options)


def test_test_labels_of_a_training_set_with_sub_folders(tmp_path):
    classes(tmp_path / "photos")
    labels = labelled(tmp_path / "new", [("x.png", "bees"), ("y.png", "ants")])
    data = loaded(tmp_path / "photos", test_root=str(tmp_path / "new"), test_labels=labels)
    assert data.splits["test"].labels.tolist() == [1, 0]


def test_a_test_set_may_have_a_single_class(tmp_path):
    classes(tmp_path / "photos")
    labels = labelled(tmp_path / "new", [("x.png", "bees")])
    data = loaded(tmp_path / "photos", test_root=str(tmp_path / "new"), test_labels=labels)
    assert data.splits["test"].labels.tolist() == [1]


def test_a_test_set_without_labels_is_refused(tmp_path):
    classes(tmp_path / "photos")
    image(tmp_path / "new" / "x.png")
    with pytest.raises(ValueError, match=r"no sub-folders that name classes: give `data\.test_labels`"):
        loaded(tmp_path / "photos", test_root=str(tmp_path / "new"))
    with pytest.raises(ValueError, match=r"give that, too"):
        loaded(tmp_path / "photos", test_labels="x.csv")
    with pytest.raises(FileNotFoundError, match=r"no folder .*nowhere"):
        loaded(tmp_path / "photos", test_root=str(tmp_path / "nowhere"))


def test_values_of_a_regression_are_matched_by_name(tmp_path):
    rows = "".join(f"{i}.png,{i},{-i}\n" for i in range(9))
    for name in ("photos", "new"):
        for i in range(9):
            image(tmp_path / name / f"{i}.png")
    (tmp_path / "photos" / "a.csv").write_text("path,x,y\n" + rows)
    (tmp_path / "new" / "a.csv").write_text("path,y,x\n" + rows)
    options = {"task": "regression", "test_root": str(tmp_path / "new"), "test_labels": str(tmp_path / "new" / "a.csv")}
    data = loaded(tmp_path / "photos", labels=str(tmp_path / "photos" / "a.csv"), **options)
    assert data.splits["test"].labels.tolist() == [[-i, i] for i in range(9)]


def wide(path, most, kind=np.uint16):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((8, 8), most, kind)).save(path)


@pytest.mark.parametrize("in_memory", [True, False])
def test_a_sets_value_range_is_one_and_is_said(tmp_path, in_memory, caplog):
    for i in range(10):
        wide(tmp_path / f"{i}.png", 400 * i)
    data = loaded(tmp_path, channels=1, in_memory=in_memory, num_workers=0)
    assert data.state_dict() == {"value_range": {"integer": [0, 4095]}}
    assert (
        caplog.text.count("10 images of whole numbers of more than 8 bits, values 0 to 3600: 0 is black, 4095 is") == 1
    )
    batches = [
        batch for loader in (data.train_dataloader(), data.val_dataloader(), data.test_dataloader()) for batch in loader
    ]
    means = torch.cat([data.on_before_batch_transfer(batch, 0)["input"].float().mean((1, 2, 3)) for batch in batches])
    assert sorted(means.tolist()) == [round(400 * i / 4095 * 255) for i in range(10)]


def test_other_files_are_read_by_the_trainings_range(tmp_path, caplog):
    for i in range(10):
        wide(tmp_path / "old" / "train" / f"{i}.png", 400 * i)
    wide(tmp_path / "new" / "1.png", 200)
    wide(tmp_path / "new" / "2.png", 5000)
    wide(tmp_path / "old" / "val" / "1.png", 300)
    trained = loaded(tmp_path / "old", channels=1)
    assert caplog.text.count("4095 is white") == 1
    data = Folder(str(tmp_path / "new"), size=8, channels=1)
    data.setup("predict")
    data.load_state_dict(trained.state_dict())
    means = data.splits["predict"].images.float().mean((1, 2, 3)).tolist()
    assert means == [round(200 / 4095 * 255), 255]
    assert "1 of 2 images have values beyond black and white" in caplog.text
    own = Folder(str(tmp_path / "new"), size=8, channels=1, value_range=[0, 5000])
    own.setup("predict")
    own.load_state_dict(trained.state_dict())
    assert own.splits["predict"].images.float().mean((1, 2, 3)).tolist() == [round(200 / 5000 * 255), 255]


@pytest.mark.parametrize("pair", [[1, 0], [0], [0, 1, 2], [float("nan"), 1], [0, float("inf")], [3, 3]])
def test_a_value_range_that_is_none(tmp_path, pair):
    with pytest.raises(ValueError, match=r"`data\.value_range` is \[black, white\]"):
        Folder(str(tmp_path), value_range=pair)


def test_a_checkpoint_carries_the_range(tmp_path):
    for i in range(10):
        wide(tmp_path / "old" / f"{i}.png", 400 * i)
    wide(tmp_path / "new" / "1.png", 200)
    module, first = AutoencoderModule((1, 8, 8)), Folder(str(tmp_path / "old"), size=8, channels=1)
    trainer = quiet_trainer(max_epochs=1)
    trainer.fit(module, first)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    other = Folder(str(tmp_path / "new"), size=8, channels=1)
    quiet_trainer().predict(module, other, ckpt_path=tmp_path / "a.ckpt")
    assert other.splits["predict"].images.unique().tolist() == [round(200 / 4095 * 255)]


@pytest.mark.parametrize("state", [[1], {"integer": 3}, {"integer": ["a", 1]}, "x"])
def test_a_checkpoints_range_of_another_type_is_named(tmp_path, state):
    with pytest.raises(ValueError, match="the checkpoint's `value_range` is no pair of numbers"):
        Folder(str(tmp_path)).load_state_dict({"value_range": state})


def test_photographs_are_augmented_unless_told(tmp_path):
    told = {"flip": False, "crop_scale": 1.0}
    for options, found in (
        ({"size": 64}, (True, 0.6)),
        ({"size": 63}, (False, 1.0)),
        ({"size": 64, "channels": 1}, (False, 1.0)),
        ({"size": 64, **told}, (False, 1.0)),
        ({"size": 8, "flip": True, "crop_scale": 0.5}, (True, 0.5)),
    ):
        data = Folder(str(tmp_path), **options)
        assert (data.flip, data.crop_scale) == found


def test_what_sums_over_the_images_gets_them_as_they_are(tmp_path):
    classes(tmp_path)
    for options, found in (({}, (False, 1.0)), ({"flip": True}, (True, 1.0))):
        data = Folder(str(tmp_path), size=64, **options)
        quiet_trainer(max_epochs=1).fit(PCAModule((3, 64, 64)), data)
        assert (data.flip, data.crop_scale) == found


def test_a_file_that_goes_while_it_is_read_is_left_out_and_named(tmp_path, caplog):
    classes(tmp_path)
    data = Folder(str(tmp_path), size=8)
    assert len(data.files["train"]) == 20
    (tmp_path / "ants" / "3.png").unlink()
    data.setup()
    assert "left out 1 of 20 images that cannot be read: " in caplog.text and "3.png" in caplog.text
    streamed = Folder(str(tmp_path), size=8, in_memory=False, num_workers=0)
    assert streamed.files and (tmp_path / "ants" / "4.png").unlink() is None
    streamed.setup()
    assert len(streamed.fingerprint) == 16


def test_names_of_many_unreadable_files_fit_in_a_line(tmp_path, caplog):
    classes(tmp_path)
    for i in range(50):
        (tmp_path / "ants" / f"bad\n{i}.png").write_bytes(b"")
    loaded(tmp_path)
    line = next(record.getMessage() for record in caplog.records if "cannot be read" in record.getMessage())
    assert line.startswith("left out 50 of 70") and line.endswith("and 30 more") and "\n" not in line


TWO = """
import multiprocessing
from conftest import quiet_trainer
from datamodules.folder import Folder
from zoo import AutoencoderModule
data = Folder({folder!r} + "/photos", size=8, batch_size=3, val_fraction=0.3, in_memory=False, num_workers=1)
trainer = quiet_trainer(devices=2, strategy="ddp", max_epochs=2)
trainer.fit(AutoencoderModule((3, 8, 8)), data)
trainer.test(trainer.lightning_module, data, verbose=False)
sys.exit(len(multiprocessing.active_children()))
"""


@pytest.mark.long
def test_two_processes_stream(two_processes, tmp_path):
    """Each its own share, which Lightning must not divide again; the workers end with the run."""
    for i in range(20):
        image(tmp_path / "photos" / f"{i}.png", 10 * i)
    two_processes(TWO)

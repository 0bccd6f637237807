import pytest
import torch
from PIL import Image

from datamodules.domains import Domains


def ready(**options):
    data = Domains(**options)
    data.prepare_data()
    data.setup()
    return data


def epoch(data, loader, number, start=0):
    loader.sampler.set_epoch(number)
    loader.load_state_dict({"position": start})
    return list(loader)


def test_pairs_of_a_labelled_source_and_a_target_without_labels():
    data = ready(batch_size=50)
    batches = epoch(data, data.train_dataloader(), 0)
    assert all(b["target"].shape == (len(b["input"]), 3, 8, 8) for b in batches)
    batch = data.on_after_batch_transfer(batches[0], 0)
    assert batch.keys() == {"input", "label", "target", "index"}
    assert batch["input"].shape == batch["target"].shape == (50, 3, 8, 8)
    assert torch.equal(batch["input"][:, 0], batch["input"][:, 2])  # grey in three channels
    assert not torch.equal(batch["target"][:, 0], batch["target"][:, 2])
    labels = data.source.splits["train"].labels
    assert torch.equal(torch.cat([b["label"] for b in batches]).sort().values, labels.sort().values)


def test_the_target_has_an_order_of_its_own_and_is_used_up():
    data = ready(batch_size=50)
    loader = data.train_dataloader()
    known = {row.numpy().tobytes(): i for i, row in enumerate(data.target.splits["train"].images)}
    seen = [
        known[row.numpy().tobytes()] for number in range(3) for b in epoch(data, loader, number) for row in b["target"]
    ]
    places = torch.tensor(seen)
    assert len(places.unique()) == len(known) and places.bincount().max() <= 5
    assert not torch.equal(places[:50].sort().values, places[len(known) : len(known) + 50].sort().values)


def test_the_same_pairs_after_resuming_and_from_the_middle():
    data, again = ready(batch_size=50), ready(batch_size=50)
    whole = epoch(data, data.train_dataloader(), 2)
    rest = epoch(again, again.train_dataloader(), 2, start=4)
    for a, b in zip(whole[4:], rest, strict=True):
        assert all(torch.equal(torch.as_tensor(a[key]), torch.as_tensor(b[key])) for key in a)


def test_a_small_target_is_repeated(tmp_path):
    for domain, size in (("s", 12), ("t", 4)):
        for i in range(size):
            path = tmp_path / domain / "ab"[i % 2] / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (9, 9), (20 * i, 0, 0)).save(path)
    data = ready(source=str(tmp_path / "s"), target=str(tmp_path / "t"), size=8, batch_size=6)
    batches = [b for number in range(3) for b in epoch(data, data.train_dataloader(), number)]
    assert all(len(b["target"]) == len(b["input"]) for b in batches) and data.class_names == ["a", "b"]


def test_choices_are_made_by_the_source_unless_told_and_tests_by_the_target():
    data = ready()
    assert len(next(iter(data.val_dataloader()))["input"][0]) == 1  # the grey source
    assert len(next(iter(data.test_dataloader()))["input"][0]) == 3
    assert len(next(iter(ready(validate_on="target").val_dataloader()))["input"][0]) == 3
    batch = data.on_after_batch_transfer(next(iter(data.val_dataloader())), 0)
    assert batch["input"].shape[1:] == data.input_shape == (3, 8, 8)


def test_domains_that_do_not_fit(tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder"):
        ready(target=str(tmp_path / "none"))
    for domain, classes in (("s", "ab"), ("t", "ac")):
        for i in range(8):
            path = tmp_path / domain / classes[i % 2] / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (9, 9), (20 * i, 0, 0)).save(path)
    with pytest.raises(ValueError, match="the source has classes a, b, the target a, c"):
        ready(source=str(tmp_path / "s"), target=str(tmp_path / "t"), size=8)
    with pytest.raises(ValueError, match=r"of \(1, 8, 8\), the target of \(3, 9, 9\): they must be of one size"):
        Domains(target=str(tmp_path / "s"), size=9).input_shape  # noqa: B018


@pytest.mark.parametrize("validate_on, parts, expected", [
    ("source", ("train", "val"), False),
    ("target", ("train", "val"), True),
    ("target", ("train", "val", "test"), False),
])  # fmt: skip
def test_whether_the_targets_validation_is_its_test(validate_on, parts, expected, tmp_path):
    for domain in ("source", "target"):
        for part in parts:
            for name in ("a", "b"):
                folder = tmp_path / domain / part / name
                folder.mkdir(parents=True)
                for i in range(3):
                    Image.new("RGB", (8, 8), (40 * i,) * 3).save(folder / f"{i}.png")
    data = Domains(str(tmp_path / "source"), str(tmp_path / "target"), size=8, validate_on=validate_on)
    assert data.test_is_validation == expected

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from datamodules.loader import ShardedSampler
from zoo.distillation.cache import TeacherCache

MADE_WITH = {"teacher": "abc", "data": {"pictures": "def"}, "augmentation": {}, "outputs": ["logits"]}


def cache(folder, samples=23, **options):
    return TeacherCache(folder, options.pop("fingerprint", MADE_WITH), samples, **options)


def said(index, view=0):
    """A teacher that says the sample's place and the view."""
    return {"logits": torch.stack([index, index + 100 * view], 1).float(), "features": index.float().view(-1, 1, 1)}


def taught(kept, view=0, seed=0, rank=0, world_size=1):
    sampler = ShardedSampler(range(kept.samples), rank, world_size, shuffle=True, seed=seed)
    sampler.set_epoch(view)
    for index in sampler.batches(5):
        kept.record(index, said(index, view))
    return kept.finish(view)


def test_what_was_recorded_is_found_by_sample(tmp_path):
    kept = cache(tmp_path)
    assert not kept.has(0) and taught(kept)
    for again in (kept, cache(tmp_path)):
        index = torch.tensor([22, 0, 7, 7])
        assert again.has(0) and not again.has(1)
        found = again.lookup(0, index)
        assert all(torch.equal(found[name], value) for name, value in said(index).items())


def test_views_are_kept_apart(tmp_path):
    kept = cache(tmp_path, augmented=True)
    assert taught(kept, 0) and taught(kept, 2)
    index = torch.arange(23)
    assert not kept.has(1)
    for view in (0, 2):
        assert kept.has(view)
        assert torch.equal(kept.lookup(view, index)["logits"], said(index, view)["logits"])


def test_an_epoch_that_was_cut_short_is_not_kept(tmp_path):
    kept = cache(tmp_path)
    kept.record(torch.arange(5, 23), said(torch.arange(5, 23)))  # resumed in the middle
    assert not kept.finish(0) and not list(tmp_path.iterdir())
    assert taught(kept)  # what was recorded in vain is forgotten


def test_processes_together_know_all_samples(tmp_path):
    parts = [cache(tmp_path, rank=rank, world_size=3) for rank in range(3)]
    assert taught(parts[0], rank=0, world_size=3) and not parts[1].has(0)
    assert all(taught(part, rank=rank, world_size=3) for rank, part in enumerate(parts[1:], 1))
    for kept in (*parts, cache(tmp_path)):  # one process reads what three wrote
        index = torch.randperm(23)
        assert kept.has(0)
        assert torch.equal(kept.lookup(0, index)["logits"], said(index)["logits"])


def test_augmented_samples_are_each_processs_own(tmp_path):
    """A sample that fills up another's share looks different there."""
    parts = [cache(tmp_path, rank=rank, world_size=2, augmented=True) for rank in range(2)]
    for rank, part in enumerate(parts):
        sampler = ShardedSampler(range(23), rank, 2)
        index = sampler.indices()
        part.record(index, {"logits": index.float() + 1000 * rank})
        assert part.finish(0) and part.has(0)
        assert torch.equal(part.lookup(0, index)["logits"], index.float() + 1000 * rank)


@pytest.mark.parametrize(
    "changed, says",
    [
        ({"teacher": "xyz"}, "another teacher:"),
        ({"data": {"pictures": "xyz"}, "augmentation": {"flip": True}}, "other data and another augmentation:"),
        ({"outputs": ["features", "logits"]}, "other outputs:"),
        ({"precision": "16-mixed"}, "another precision:"),
    ],
)
def test_outputs_made_with_something_else_are_refused(tmp_path, changed, says):
    taught(cache(tmp_path))
    with pytest.raises(ValueError, match=says):
        cache(tmp_path, fingerprint={**MADE_WITH, **changed})


@pytest.mark.parametrize("damage", ["other", "list", "text", "cut"])
def test_damaged_files_are_told_and_made_anew(damage, tmp_path, caplog):
    path = tmp_path / "view-000-0-of-1.safetensors"
    taught(cache(tmp_path))
    whole = path.read_bytes()
    if damage == "other":
        save_file({"x": torch.zeros(1)}, path)
    elif damage == "list":
        save_file({"x": torch.zeros(1)}, path, {"fingerprint": "[1]"})
    else:
        path.write_bytes(b"not a file of tensors" if damage == "text" else whole[: len(whole) // 2])
    again = cache(tmp_path)
    assert "view-000-0-of-1.safetensors is damaged" in caplog.text
    assert not again.has(0)
    taught(again)
    assert path.read_bytes() == whole and cache(tmp_path).has(0)


def test_a_file_says_what_it_was_made_with_and_nothing_is_left_beside_it(tmp_path):
    taught(cache(tmp_path / "new" / "folder"))
    (path,) = (tmp_path / "new" / "folder").iterdir()
    with safe_open(path, "pt") as file:
        assert json.loads(file.metadata()["fingerprint"]) == MADE_WITH


def test_a_disk_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(OSError, match=r"could not write the teacher's outputs, .*name another folder"):
        taught(cache(tmp_path / "file"))

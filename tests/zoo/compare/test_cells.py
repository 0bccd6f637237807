import json

import pytest
import torch

from zoo.compare.cells import Cell, Folder, pack_bits, slug, unpack_bits


@pytest.mark.parametrize("count", [1, 7, 8, 9, 1000])
def test_bits_are_packed_and_unpacked(count):
    right = torch.rand(count, generator=torch.Generator().manual_seed(count)) < 0.5
    packed = pack_bits(right)
    assert len(packed) == 2 * -(-count // 8)
    assert torch.equal(unpack_bits(packed, count), right)


def test_the_first_sample_is_the_highest_bit():
    assert pack_bits(torch.tensor([True] + 8 * [False] + [True])) == "8040"


def test_names_of_files_tell_cells_apart(tmp_path):
    base = Cell("contrastive:method=byol", "full", 3e-4, 10, 2)
    others = [
        base._replace(mode="lp_ft"),
        base._replace(rate=1e-3),
        base._replace(labels=1),
        base._replace(seed=1),
        base._replace(source="contrastive"),
        base._replace(source="untrained", network='"conv"'),
        base._replace(source="untrained", network='{"name": "conv", "width": 8}'),
    ]
    names = {cell.name for cell in [base, *others]}
    assert len(names) == 1 + len(others)
    assert Cell("gan", "full", 3e-4, 10, 2, '"conv"').name == "gan-conv-full-0.0003-10labels-seed2"


def test_no_two_sources_share_a_file():
    names = ["runs/a-b", "runs/a_b", "runs/a b", "runs/a:b", "./runs/a_b", "runs_a_b", *("x" * n for n in (299, 300))]
    slugs = [slug(name) for name in names]
    assert len(set(slugs)) == len(names) and all(len(text) < 80 and "-" not in text for text in slugs)


def test_a_result_is_read_as_it_was_written(tmp_path):
    folder, cell = Folder(tmp_path), Cell("pca", "probe", 0.0, 10, 1)
    assert folder.read(cell) is None
    folder.write(cell, {"right": "80", "samples": 1})
    assert folder.read(cell)["right"] == "80"
    assert [path.name for path in (tmp_path / "cells").iterdir()] == [f"{cell.name}.json"]
    folder.result(cell).write_text(json.dumps({"right": "80"})[:-3])
    with pytest.raises(ValueError, match="cannot be read: delete it"):
        folder.read(cell)

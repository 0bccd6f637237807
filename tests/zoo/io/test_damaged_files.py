"""Files of encoders, weights and checkpoints with every kind of damage: one line with the file's name."""

import json
import zipfile

import pytest
import torch
from conftest import quiet_trainer
from safetensors.torch import load_file, save_file

from datamodules.images import Digits
from zoo import AutoencoderModule, load_encoder, save_encoder
from zoo.cli.errors import explain
from zoo.core.checkpoint import read_checkpoint
from zoo.io.library_weights import load_weights
from zoo.networks.encoder import Encoder


def refused(read, path, says="."):
    """Reading ends in one line that names the file."""
    with pytest.raises((ValueError, OSError), match=says) as caught:
        read(path)
    line = explain(caught.value)
    assert line and path.name in str(caught.value) and "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def resumable(tmp_path_factory):
    """A checkpoint to resume from."""
    trainer = quiet_trainer(tmp_path_factory.mktemp("run"), max_epochs=1, limit_train_batches=2)
    trainer.fit(AutoencoderModule((1, 8, 8), network="mlp"), Digits())
    trainer.save_checkpoint(path := tmp_path_factory.mktemp("saved") / "a.ckpt")
    return path


@pytest.fixture
def folder(tmp_path):
    save_encoder(Encoder({"name": "conv", "width": 8}, (1, 8, 8), 5), tmp_path / "encoder-folder")
    return tmp_path / "encoder-folder"


@pytest.mark.parametrize(
    "change",
    [
        {"network": 3},
        {"network": []},
        {"network": None},
        {"network": "no such network"},
        {"network": {"name": "conv", "width": "8"}},
        {"network": {"name": "conv", "width": -8}},
        {"network": {"name": "conv", "width": 10**9}},
        {"network": {"name": "conv", "width": [8]}},
        {"network": {"name": {"a": 1}}},
        {"network": {"name": "mlp", "hidden": [10**9, 10**9]}},
        {"input_shape": None},
        {"input_shape": "8"},
        {"input_shape": 8},
        {"input_shape": []},
        {"input_shape": [1, -8, 8]},
        {"input_shape": [1, 10**9, 10**9]},
        {"input_shape": [1, 10**30, 8]},
        {"input_shape": [1, "8", 8]},
        {"output_dim": 10**12},
        {"output_dim": "5"},
        {"output_dim": -5},
        {"output_dim": 5.5},
        {"normalisation": []},
        {"normalisation": "unit"},
        {"normalisation": {"mean": 0.5, "std": [1]}},
        {"normalisation": {"mean": [0.5]}},
        {"normalisation": {"mean": ["a"], "std": ["b"]}},
        {"normalisation": {"sample_offset": None}},
        {"activation": "no such"},
        {"activation": ["relu"]},
        {"format": "2"},
        {"format": None},
    ],
    ids=str,
)
def test_descriptions_of_encoders_with_other_types_or_sizes(folder, change):
    file = folder / "encoder.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    refused(load_encoder, folder)


@pytest.mark.parametrize("missing", ["network", "input_shape", "output_dim", "normalisation"])
def test_descriptions_of_encoders_that_lack_something(folder, missing):
    file = folder / "encoder.json"
    description = json.loads(file.read_text())
    del description[missing]
    file.write_text(json.dumps(description))
    refused(load_encoder, folder, missing)


@pytest.mark.parametrize("content", [b"", b"[1]", b"3", b"null", b"\xff\xfe\x00", b"[" * 100_000, b'{"a":' * 100_000])
def test_descriptions_that_are_no_mapping(folder, content):
    (folder / "encoder.json").write_bytes(content)
    refused(load_encoder, folder)


def header(entries):
    content = json.dumps(entries).encode()
    return len(content).to_bytes(8, "little") + content


TENSORS = {
    "empty": b"",
    "text": b"some words that are no tensors\n",
    "long header": (2**62).to_bytes(8, "little") + b"{}",
    "offsets": header({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 10**12]}}),
    "backwards": header({"a": {"dtype": "F32", "shape": [2], "data_offsets": [8, 0]}}) + bytes(8),
    "shape": header({"a": {"dtype": "F32", "shape": [10**9, 10**9], "data_offsets": [0, 8]}}) + bytes(8),
    "negative": header({"a": {"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]}}) + bytes(8),
    "type": header({"a": {"dtype": "X32", "shape": [2], "data_offsets": [0, 8]}}) + bytes(8),
    "list": header([1]),
}


@pytest.mark.parametrize("damage", TENSORS)
def test_tensors_with_another_header_than_content(folder, tmp_path, damage):
    (folder / "encoder.safetensors").write_bytes(TENSORS[damage])
    refused(load_encoder, folder)
    (tmp_path / "b.safetensors").write_bytes(TENSORS[damage])
    refused(
        lambda path: load_weights(Encoder("torchvision:resnet18", (3, 32, 32)), str(path)), tmp_path / "b.safetensors"
    )


def test_a_folder_in_place_of_a_file(folder, tmp_path):
    (tmp_path / "c.ckpt").mkdir()
    refused(read_checkpoint, tmp_path / "c.ckpt")
    (folder / "encoder.safetensors").unlink()
    (folder / "encoder.safetensors").mkdir()
    refused(load_encoder, folder)


@pytest.mark.parametrize("damage", ["bomb", "overlap", "record", "cut", "text", "empty"])
def test_archives_of_which_more_would_come_out_than_is_in(tmp_path, damage):
    path, whole = tmp_path / "d.ckpt", tmp_path / "whole.ckpt"
    torch.save({"state_dict": {"a": torch.zeros(10**6)}}, whole)
    if damage in ("bomb", "record"):
        how = zipfile.ZIP_DEFLATED if damage == "bomb" else zipfile.ZIP_STORED
        with zipfile.ZipFile(whole) as archive, zipfile.ZipFile(path, "w", how) as other:
            for part in archive.infolist():
                small = damage == "record" and part.filename.endswith("data/0")
                other.writestr(part.filename, b"1234" if small else archive.read(part))
    else:
        content = whole.read_bytes()
        shrunk = content[:1000] + content[-1000:]
        path.write_bytes(
            {"overlap": shrunk, "cut": content[: len(content) // 2], "text": b"words\n", "empty": b""}[damage]
        )
    refused(read_checkpoint, path)


def test_a_tensor_that_repeats_one_number_beyond_all_memory(tmp_path):
    torch.save({"state_dict": {"a": torch.zeros(1).expand(10**9, 10**9)}}, tmp_path / "e.ckpt")
    refused(read_checkpoint, tmp_path / "e.ckpt", "larger than the file")


@pytest.mark.parametrize(
    "change",
    [
        {"state_dict": []},
        {"state_dict": {"encoder.a": "text"}},
        {"state_dict": {3: torch.zeros(1)}},
        {"hyper_parameters": [1]},
        {"zoo": "text"},
        {"zoo": {"classes": "text"}},
        {"zoo": {"classes": [3]}},
        {"zoo": {"encoder": 3}},
        {"zoo": {"head": []}},
        {"zoo": {"format": "2"}},
        {"zoo": {"encoder": {"network": "no such network"}}},
        {"zoo": {"encoder": {}}},
        {"loops": 3},
        {"epoch": "1"},
        {"optimizer_states": {}},
    ],
    ids=str,
)
def test_checkpoints_whose_fields_have_other_types(resumable, tmp_path, change):
    checkpoint = torch.load(resumable, weights_only=True)
    torch.save(checkpoint | change, tmp_path / "f.ckpt")
    refused(load_encoder, tmp_path / "f.ckpt")


@pytest.mark.parametrize(
    "change", [{"loops": {"fit_loop": {"epoch_progress": 3}}}, {"optimizer_states": [3]}, {"loops": {}}], ids=str
)
def test_a_run_is_not_resumed_from_a_damaged_checkpoint(resumable, tmp_path, change):
    torch.save(torch.load(resumable, weights_only=True) | change, tmp_path / "g.ckpt")
    trainer = quiet_trainer(tmp_path, max_epochs=2, limit_train_batches=2)
    with pytest.raises(Exception) as caught:
        trainer.fit(AutoencoderModule((1, 8, 8), network="mlp"), Digits(), ckpt_path=tmp_path / "g.ckpt")
    assert "g.ckpt cannot be restored" in explain(caught.value)


def test_normalisation_in_a_file_of_weights(tmp_path):
    encoder = Encoder("torchvision:resnet18", (3, 32, 32))
    save_file(encoder.trunk.model.state_dict(), path := tmp_path / "h.safetensors")
    load_weights(encoder, str(path))
    save_file(load_file(path), path, {"normalisation": '{"mean": "a", "std": 3}'})
    refused(lambda path: load_weights(encoder, str(path)), path, "normalisation")

import json

import pytest
import torch
from conftest import quiet_trainer
from torch import nn

from zoo import AutoencoderModule, load_encoder, save_encoder
from zoo.io.encoder import load_state_dict_strict
from zoo.networks.encoder import Encoder


def made(folder):
    spec = {"name": "conv", "width": 8}
    encoder = Encoder(spec, (1, 8, 8), 5, {"mean": [0.3], "std": [0.4]}).eval()
    save_encoder(encoder, folder, {"data": "digits"})
    return encoder


def test_round_trip(tmp_path):
    encoder, loaded = made(tmp_path), load_encoder(tmp_path)
    x = torch.rand(3, 1, 8, 8)
    assert torch.equal(loaded(loaded.preprocess(x)), encoder(encoder.preprocess(x)))
    assert (loaded.input_shape, loaded.normalisation) == ((1, 8, 8), {"mean": [0.3], "std": [0.4]})
    assert not loaded.training
    description = json.loads((tmp_path / "encoder.json").read_text())
    assert description["network"] == {"name": "conv", "width": 8} and description["provenance"] == {"data": "digits"}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["encoder.json", "encoder.safetensors"]


def test_what_has_no_spec_cannot_be_exported(tmp_path):
    with pytest.raises(ValueError, match="spec"):
        save_encoder(Encoder(nn.Flatten(), (2, 2)), tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["encoder.json", "encoder.safetensors"])
def test_missing_and_damaged_files_are_said(tmp_path, name):
    made(tmp_path)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="cannot be read"):
        load_encoder(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(FileNotFoundError, match=name):
        load_encoder(tmp_path)


def test_weights_of_another_network_are_refused(tmp_path):
    made(tmp_path)
    description = json.loads((tmp_path / "encoder.json").read_text())
    (tmp_path / "encoder.json").write_text(json.dumps({**description, "output_dim": 6}))
    with pytest.raises(
        ValueError, match=r"do not fit the network \(2 of another shape: head.weight \(5, \d+\) for \(6, \d+\)"
    ):
        load_encoder(tmp_path)


def test_an_encoder_is_read_from_any_modules_checkpoint(tmp_path):
    module = AutoencoderModule(
        (1, 8, 8), network={"name": "conv", "width": 8}, normalisation={"mean": [0.3], "std": [1]}
    )
    trainer = quiet_trainer(tmp_path)
    trainer.strategy.connect(module)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    loaded, x = load_encoder(tmp_path / "a.ckpt"), torch.rand(3, 1, 8, 8)
    assert torch.equal(loaded(x), module.eval().encode(x)) and not loaded.training
    assert loaded.normalisation == module.encoder.normalisation and loaded.input_shape == (1, 8, 8)


def test_a_checkpoint_without_an_encoder_says_so(tmp_path):
    module = AutoencoderModule((1, 8, 8), network=nn.Sequential(nn.Flatten(), nn.Linear(64, 8)))
    trainer = quiet_trainer(tmp_path)
    trainer.strategy.connect(module)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    with pytest.raises(ValueError, match="holds no encoder"):
        load_encoder(tmp_path / "a.ckpt")
    with pytest.raises(FileNotFoundError, match="neither such a folder nor such a checkpoint"):
        load_encoder(tmp_path / "b.ckpt")


def test_weights_with_other_names_are_named():
    with pytest.raises(ValueError, match=r"1 missing: bias; 1 unexpected: b\): they are of another network"):
        load_state_dict_strict(nn.Linear(2, 1), {"weight": torch.zeros(1, 2), "b": torch.zeros(1)}, "here")

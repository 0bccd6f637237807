import shutil
import sys

import pytest
import torch
from conftest import quiet_trainer
from torch import nn

from zoo import AutoencoderModule, GANModule, PCAModule, SOMModule, VQVAEModule, save_encoder
from zoo.io.backbone import resolve_backbone
from zoo.networks.encoder import Encoder

SHAPE = (1, 8, 8)


def checkpoint(module, folder):
    trainer = quiet_trainer(folder)
    trainer.strategy.connect(module)
    trainer.save_checkpoint(folder / "a.ckpt")
    return str(folder / "a.ckpt")


@pytest.mark.parametrize("make", [AutoencoderModule, GANModule, VQVAEModule, PCAModule, SOMModule])
def test_any_modules_checkpoint_is_a_backbone(make, tmp_path):
    module = make(SHAPE)
    encoder = resolve_backbone(checkpoint(module, tmp_path), SHAPE, drop_head=False)
    x = torch.rand(4, *SHAPE)
    torch.testing.assert_close(encoder(x), module.eval().encoder(x))
    assert encoder.origin == str(tmp_path / "a.ckpt")


def test_the_last_layer_is_left_away(tmp_path):
    module = AutoencoderModule(SHAPE, latent_dim=5)
    save_encoder(module.encoder, tmp_path / "saved")
    encoder = resolve_backbone(str(tmp_path / "saved"), SHAPE)
    x = torch.rand(4, *SHAPE)
    torch.testing.assert_close(encoder(x), module.encoder.trunk(x))
    assert encoder.output_dim is None and resolve_backbone(str(tmp_path / "saved"), SHAPE, None, False).output_dim == 5


@pytest.mark.parametrize("spec", ["conv", nn.Flatten()])
def test_an_encoder_in_memory_is_copied(spec):
    trained = Encoder(spec, SHAPE, 5, {"mean": [0.5], "std": [0.25]}).requires_grad_(False)
    encoder = resolve_backbone(trained, SHAPE)
    x = torch.rand(4, *SHAPE)
    torch.testing.assert_close(encoder(x), trained.trunk(x))
    assert encoder.origin and encoder.spec == trained.spec and encoder.normalisation == trained.normalisation
    whole = resolve_backbone(trained, SHAPE, drop_head=False)
    torch.testing.assert_close(whole(x), trained(x))
    whole.head.weight.data.zero_()
    assert all(p.requires_grad for p in whole.parameters()) and trained.head.weight.any()


def test_a_description_rebuilds_the_network_without_the_file(tmp_path):
    save_encoder(Encoder("conv", SHAPE, 5), tmp_path / "saved")
    encoder = resolve_backbone(str(tmp_path / "saved"), SHAPE)
    shutil.rmtree(tmp_path / "saved")
    again = resolve_backbone({**encoder.get_config(), "origin": encoder.origin}, SHAPE)
    assert again.state_dict().keys() == encoder.state_dict().keys() and again.origin == encoder.origin


def test_scratch_suits_the_input():
    encoder = resolve_backbone("", (7,))
    assert encoder.spec == "mlp" and encoder.origin == ""
    assert resolve_backbone("", SHAPE).spec == "conv"
    assert (
        resolve_backbone({"name": "conv", "width": 8}, SHAPE).feature_dim < resolve_backbone("conv", SHAPE).feature_dim
    )
    assert resolve_backbone(nn.Flatten(), SHAPE).feature_dim == 64


def test_mistakes_are_one_line(tmp_path):
    with pytest.raises(FileNotFoundError, match="neither such a folder nor such a checkpoint"):
        resolve_backbone(str(tmp_path / "nothing"), SHAPE)
    with pytest.raises(ValueError, match=r"unknown network 'convv' \(did you mean 'conv'"):
        resolve_backbone("convv", SHAPE)
    save_encoder(Encoder("conv", SHAPE, 5, {"mean": [0.5], "std": [0.25]}), tmp_path / "saved")
    for shape, options in (((3, 28, 28), "`data.channels` 1 `data.size` 8"), ((3, 8, 8), "`data.channels` 1")):
        with pytest.raises(ValueError, match=rf"shape \(1, 8, 8\), the data have .* \({options}\?\)"):
            resolve_backbone(str(tmp_path / "saved"), shape)
    with pytest.raises(
        ValueError, match=r"normalised by .*0\.25.*, the data are normalised by .*0\.1.*normalise` unit"
    ):
        resolve_backbone(str(tmp_path / "saved"), SHAPE, {"mean": [0.3], "std": [0.1]})
    assert resolve_backbone(str(tmp_path / "saved"), SHAPE, {"mean": [0.5], "std": [0.25]})
    with pytest.raises(ValueError, match="no input_shape"):
        resolve_backbone("conv", None)


@pytest.mark.parametrize(
    "name, says",
    [
        ("resnet50d", r"'resnet50d' \(did you mean 'timm:resnet50d'\?\)"),
        ("vit_tiny_patch16_224.augreg_in21k", "did you mean 'timm:vit_tiny_patch16_224.augreg_in21k'"),
        ("vgg", "did you mean 'vgg1"),
        ("resnet188", "did you mean 'resnet1"),
        ("efficientnet_b1_prund", "did you mean 'timm:efficientnet_b1_pruned'"),
        ("qqqqq", "take 'conv'"),
    ],
)
def test_a_name_of_another_library_is_offered_with_its_prefix(name, says):
    pytest.importorskip("timm")
    with pytest.raises(ValueError, match=says):
        resolve_backbone(name, (3, 32, 32))


def test_without_timm_it_is_said_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ValueError, match=r"pip install 'pretraining-zoo\[timm\]', then 'timm:resnet50d'"):
        resolve_backbone("resnet50d", (3, 32, 32))

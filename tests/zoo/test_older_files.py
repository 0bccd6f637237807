"""Checkpoints and encoders of version 0.1.0, before options, tensors and classes were renamed, load and give the same.

They were made by two training steps each; ``expected.json`` holds what the modules of that version gave.
"""

import json

import pytest
import torch
from conftest import ROOT

from datamodules.images import Digits
from zoo import (
    AutoencoderModule,
    DistillModule,
    FinetuneModule,
    GANModule,
    SkipGramModule,
    SOMModule,
    VQVAEModule,
    load_encoder,
)
from zoo.distillation.teacher import read_classifier
from zoo.io.backbone import resolve_backbone

FILES = ROOT / "tests/zoo/fixtures/before_renaming"
EXPECTED = json.loads((FILES / "expected.json").read_text())
X = torch.linspace(0, 1, 2 * 64).view(2, 1, 8, 8)
GIVES = {
    "som": (SOMModule, lambda module: module.encode(X)),
    "vqvae": (VQVAEModule, lambda module: module.code_indices(X)),
    "gan": (GANModule, lambda module: module.generate(torch.ones(2, 3)).flatten(1)[:, :5]),
    "finetune": (FinetuneModule, lambda module: module(X)),
    "distill": (DistillModule, lambda module: module(X)),
    "skipgram": (SkipGramModule, lambda module: module.vectors()),
}


def same(found, name):
    expected = torch.tensor(EXPECTED[name])
    torch.testing.assert_close(found.to(expected.dtype), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", GIVES)
def test_a_checkpoint_loads_without_arguments(name):
    technique, gives = GIVES[name]
    with torch.no_grad():
        same(gives(technique.load_from_checkpoint(FILES / f"{name}.ckpt").eval()), name)


def test_options_come_under_their_present_names():
    som = SOMModule.load_from_checkpoint(FILES / "som.ckpt").hparams
    assert (som.updates_per_epoch, som.lr, som.init, som.encoding) == (2, 0.4, "sample", "activation")
    student = DistillModule.load_from_checkpoint(FILES / "distill.ckpt").hparams
    assert (student.kd_weight, student.dkd_weight, student.label_weight, student.train_baseline) == (
        0.5,
        0.25,
        2,
        False,
    )
    assert SkipGramModule.load_from_checkpoint(FILES / "skipgram.ckpt").hparams.block_size == 8


def test_old_names_work_in_python_and_are_told_once(caplog):
    modules = [SOMModule((6,), rows=3, columns=3, moves=3) for _ in range(2)]
    assert modules[0].hparams.updates_per_epoch == 3
    assert caplog.text.count("option 'moves' of SOMModule is now called 'updates_per_epoch'") == 1
    assert modules[0].winners(torch.zeros(1, 6)).shape == (1,)
    SkipGramModule({"word": 2}, written_out=True)
    assert "option 'written_out' of SkipGramModule was removed" in caplog.text
    with pytest.raises(TypeError, match="moves_"):
        SOMModule((6,), moves_=3)


def test_networks_under_their_old_names():
    for old, new in (("free", "r3gan"), ("resnet", "gan_resnet")):
        first, second = (resolve_backbone(name, (1, 8, 8)) for name in (old, new))
        assert first.state_dict().keys() == second.state_dict().keys()


def test_encoders_heads_and_backbones_are_read():
    same(load_encoder(FILES / "finetune.ckpt")(X)[:, :5], "finetune_encoder")  # between start and end, as it was tested
    assert load_encoder(FILES / "encoder")(X).shape == load_encoder(FILES / "finetune.ckpt")(X).shape
    classifier, labels, trained = read_classifier(str(FILES / "finetune.ckpt"), (1, 8, 8), None)
    assert trained and labels.task == "classification" and labels.names == Digits().class_names
    assert classifier.head_output(classifier.encode(X)).shape == (2, 10)
    assert resolve_backbone(str(FILES / "som.ckpt"), (1, 8, 8)).origin.endswith("som.ckpt")


def test_another_techniques_and_a_later_versions_are_refused(tmp_path):
    with pytest.raises(ValueError, match="written by SOMModule, not by AutoencoderModule"):
        AutoencoderModule.load_from_checkpoint(FILES / "som.ckpt")
    later = torch.load(FILES / "som.ckpt", weights_only=True)
    later["zoo"]["format"] = 99
    torch.save(later, tmp_path / "later.ckpt")
    with pytest.raises(ValueError, match="format 99, of a later version"):
        SOMModule.load_from_checkpoint(tmp_path / "later.ckpt")

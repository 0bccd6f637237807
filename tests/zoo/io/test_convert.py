import json

import numpy as np
import pytest
import torch
from conftest import quiet_trainer
from safetensors.torch import load_file
from torch import nn
from torchvision.models import get_model

from zoo import FinetuneModule, load_encoder, save_encoder
from zoo.io.convert import export
from zoo.io.library_weights import save_state
from zoo.io.onnx import Exported, save_onnx
from zoo.networks.encoder import Encoder
from zoo.networks.low_rank import add_low_rank


def session(path):
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    return runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


@pytest.mark.parametrize(
    ("spec", "shape", "normalisation"),
    [
        pytest.param("torchvision:swin_t", (3, 64, 64), None, marks=pytest.mark.long),
        ("timm:vit_tiny_patch16_224", (3, 32, 32), None),
        ("conv", (1, 28, 28), {"mean": [0.3], "std": [0.2]}),
        ("conv", (3, 16, 16), {"sample_offset": 0.1}),
        ({"name": "vit", "width": 32, "depth": 2, "class_tokens": 2}, (3, 8, 12), None),
        ("mlp", (7,), {"mean": [0.5] * 7, "std": [2.0] * 7}),
        ("dcgan", (3, 32, 32), None),
        ("prototypes", (1, 8, 8), None),
        ("torchvision:resnet18", (1, 32, 32), {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}),
    ],
)
def test_onnxruntime_computes_the_same(spec, shape, normalisation, tmp_path):
    pytest.importorskip("onnx")
    if str(spec).startswith("timm"):
        pytest.importorskip("timm")
    torch.manual_seed(0)
    encoder = Encoder(spec, shape, None, normalisation).eval()
    head = nn.Linear(encoder.feature_dim, 4)
    path = save_onnx(encoder, tmp_path / "a.onnx", head, class_names=["a", "b", "c", "d"])
    running = session(path)
    for size in (1, 5):
        x = torch.rand(size, *shape)
        (found,) = running.run(None, {"input": x.numpy()})
        expected = head(encoder(encoder.preprocess(x))).detach()
        np.testing.assert_allclose(found, expected, atol=1e-4 * max(1, expected.abs().max().item()))
    assert json.loads(running.get_modelmeta().custom_metadata_map["class_names"]) == ["a", "b", "c", "d"]
    assert [p.name for p in tmp_path.iterdir()] == ["a.onnx"]


def test_what_onnxruntime_computes_otherwise_is_not_written(tmp_path, monkeypatch):
    session_of = pytest.importorskip("onnxruntime").InferenceSession
    pytest.importorskip("onnx")

    class Wrong(session_of):
        def run(self, *args):
            return [out + 0.01 for out in super().run(*args)]

    monkeypatch.setattr("onnxruntime.InferenceSession", Wrong)
    with pytest.raises(ValueError, match=r"differ from PyTorch's by 0\.0"):
        save_onnx(Encoder("mlp", (7,)), tmp_path / "a.onnx")
    assert not list(tmp_path.iterdir())


def test_what_the_exporter_takes_for_a_constant_is_found(tmp_path, monkeypatch):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr(Exported, "forward", lambda self, x: self.encoder(x) * float(len(x)))
    (tmp_path / "a.onnx").write_text("before")
    with pytest.raises(ValueError, match="differ from PyTorch's"):
        save_onnx(Encoder("mlp", (7,)), tmp_path / "a.onnx")
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("a.onnx", "before")]


@pytest.mark.parametrize(
    "arch, end",
    [
        ("resnet18", "pth"),
        ("resnet18", "safetensors"),
        pytest.param("vgg11", "pth", marks=[pytest.mark.long, pytest.mark.nightly]),
        ("mobilenet_v3_small", "safetensors"),
        ("densenet121", "safetensors"),
        ("swin_t", "safetensors"),
    ],
)
def test_torchvisions_own_loader_reads_it(arch, end, tmp_path):
    torch.manual_seed(0)
    encoder = Encoder(f"torchvision:{arch}", (3, 64, 64)).eval()
    head, x = nn.Linear(encoder.feature_dim, 7), torch.rand(2, 3, 64, 64)
    path = save_state(encoder, tmp_path / f"a.{end}", head)
    with torch.device("meta"):  # no time is spent on random weights
        theirs = get_model(arch, num_classes=7).to_empty(device="cpu").eval()
    theirs.load_state_dict(torch.load(path, weights_only=True) if end == "pth" else load_file(path))
    torch.testing.assert_close(theirs(x), head(encoder(x)))


def test_timms_own_loader_reads_it(tmp_path):
    timm = pytest.importorskip("timm")
    encoder = Encoder("timm:resnet10t", (3, 64, 64)).eval()
    head, x = nn.Linear(encoder.feature_dim, 7), torch.rand(2, 3, 64, 64)
    save_state(encoder, tmp_path / "a.safetensors", head)
    theirs = timm.create_model("resnet10t", num_classes=7, checkpoint_path=str(tmp_path / "a.safetensors")).eval()
    torch.testing.assert_close(theirs(x), head(encoder(x)))


def test_changes_of_low_rank_are_merged(tmp_path):
    torch.manual_seed(0)
    encoder = Encoder("torchvision:resnet18", (3, 32, 32)).eval()
    names = encoder.trunk.model.state_dict().keys()
    add_low_rank(encoder, 2)
    for name, p in encoder.named_parameters():
        if name.endswith("up"):
            nn.init.normal_(p, std=1e-3)
    x = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(Exported(encoder, None, False)(x), encoder(x), rtol=1e-4, atol=1e-4)
    assert load_file(save_state(encoder, tmp_path / "a.safetensors")).keys() == names


def check_exported_resnet(module, folder):
    """torchvision's own network gives what the module gives, with the weights that its checkpoint was exported to."""
    trainer = quiet_trainer(folder)
    trainer.strategy.connect(module)
    trainer.save_checkpoint(folder / "a.ckpt")
    theirs = get_model("resnet18", num_classes=2).eval()
    theirs.load_state_dict(load_file(export(str(folder / "a.ckpt"), "state")))
    x = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(theirs(x), module(x))


def test_a_fine_tuned_checkpoint_takes_its_head_along(tmp_path):
    torch.manual_seed(0)
    module = FinetuneModule((3, 32, 32), 2, ["ant", "bee"], backbone="resnet18", weights="none").eval()
    check_exported_resnet(module, tmp_path)
    assert (tmp_path / "state.safetensors").is_file()


@pytest.mark.parametrize(
    "task, name, activate",
    [
        ("classification", "classifier.onnx", {"softmax": lambda x: np.exp(x) / np.exp(x).sum(1, keepdims=True)}),
        ("multilabel", "classifier.onnx", {"sigmoid": lambda x: 1 / (1 + np.exp(-x))}),
        ("regression", "regressor.onnx", {None: lambda x: x}),
    ],
)
@pytest.mark.parametrize("data", ["unit", "standard"])
def test_images_are_classified_by_the_files_metadata_alone(task, name, activate, data, tmp_path):
    torch.manual_seed(0)
    scaling = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]} if data == "standard" else None
    options = {"task": task, "backbone": "conv", "normalisation": scaling}
    module = FinetuneModule((3, 32, 48), 2, ["ant", "bee"], **options).eval()
    trainer = quiet_trainer(tmp_path)
    trainer.strategy.connect(module)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    path = export(str(tmp_path / "a.ckpt"), "onnx")
    assert path == tmp_path / name
    running = session(path)
    told = {key: json.loads(value) for key, value in running.get_modelmeta().custom_metadata_map.items()}
    assert told["class_names"] == ["ant", "bee"] and told["task"] == task and told["normalised_inside"] is True
    assert (told.get("mean"), told.get("std")) == ((scaling or {}).get("mean"), (scaling or {}).get("std"))
    raw = np.random.default_rng(0).integers(0, 256, (4, told["channels"], *told["size"]), dtype=np.uint8)
    low, high = told["value_range"]
    (found,) = running.run(None, {"input": (low + raw / 255 * (high - low)).astype(np.float32)})
    x = torch.from_numpy(raw) / 255
    if scaling:
        x = (x - torch.tensor(scaling["mean"]).view(3, 1, 1)) / torch.tensor(scaling["std"]).view(3, 1, 1)
    np.testing.assert_allclose(activate[told["activation"]](found), module.predict(x).detach(), atol=1e-4)


def test_an_encoder_without_a_head_stays_an_encoder(tmp_path):
    save_encoder(Encoder("mlp", (7,)), tmp_path)
    path = export(str(tmp_path), "onnx")
    told = {key: json.loads(value) for key, value in session(path).get_modelmeta().custom_metadata_map.items()}
    assert path.name == "encoder.onnx" and told["input_shape"] == [7] and not told.keys() & {"task", "size"}


def test_a_head_of_the_encoders_own_is_the_last_layer(tmp_path):
    encoder = Encoder("torchvision:resnet18", (1, 32, 32), 6).eval()
    theirs = get_model("resnet18", num_classes=6).eval()
    theirs.load_state_dict(load_file(save_state(encoder, tmp_path / "a.safetensors")))
    x = torch.rand(2, 1, 32, 32)
    torch.testing.assert_close(theirs(x.repeat(1, 3, 1, 1)), encoder(x))


def test_what_the_library_has_no_place_for_is_not_written(tmp_path):
    resnet = "torchvision:resnet18"
    for encoder, head, says in (
        (Encoder(resnet, (3, 32, 32), 6), nn.Linear(6, 2), "a place for one linear layer"),
        (Encoder(resnet, (3, 32, 32), 6, None, "relu"), None, "a place for one linear layer"),
        (Encoder(resnet, (3, 32, 32)), nn.Linear(3, 2), r"fc.weight \(2, 3\) for \(2, 512\)"),
        (Encoder("torchvision:maxvit_t", (3, 224, 224)), nn.Linear(512, 2), "unexpected: classifier.5.bias"),
    ):
        with pytest.raises(ValueError, match=says):
            save_state(encoder, tmp_path / "a.pth", head)
    assert not list(tmp_path.iterdir())


def test_an_encoders_folder_stays_as_it_is(tmp_path):
    encoder = Encoder("torchvision:resnet18", (3, 32, 32)).eval()
    save_encoder(encoder, tmp_path)
    assert export(str(tmp_path), "state").parent == tmp_path
    x = torch.rand(2, 3, 32, 32)
    assert torch.equal(load_encoder(tmp_path)(x), encoder(x))


def test_a_regressions_values_are_in_the_targets_units(tmp_path):
    module = FinetuneModule((3, 32, 32), 2, task="regression", backbone="resnet18", weights="none").eval()
    module.target_mean.copy_(torch.tensor([100.0, -5.0]))
    module.target_std.copy_(torch.tensor([30.0, 0.1]))
    check_exported_resnet(module, tmp_path)


def test_mistakes_are_named(tmp_path):
    with pytest.raises(ValueError, match="'conv' is no network of torchvision or timm"):
        save_state(Encoder("conv", (1, 8, 8)), tmp_path / "a.pth")
    with pytest.raises(ValueError, match=r"as \.safetensors or \.pth; got a\.h5"):
        save_state(Encoder("torchvision:resnet18", (3, 32, 32)), tmp_path / "a.h5")
    save_encoder(Encoder("conv", (1, 8, 8)), tmp_path / "saved")
    with pytest.raises(ValueError, match="no network of torchvision"):
        export(str(tmp_path / "saved"), "state")

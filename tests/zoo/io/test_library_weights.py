import os
import subprocess
import sys

import pytest
import torch
from conftest import ROOT
from safetensors.torch import save_file
from torchvision.models import resnet18

from zoo.io.backbone import resolve_backbone
from zoo.io.library_weights import load_weights, save_state
from zoo.networks.encoder import Encoder
from zoo.networks.library import TorchvisionTrunk

SHAPE = (3, 32, 32)
IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}


@pytest.fixture(scope="module")
def theirs():
    torch.manual_seed(1)
    return resnet18().eval()


def save(state, path):
    save_file(state, path) if path.suffix == ".safetensors" else torch.save(state, path)


@pytest.mark.parametrize("name", ["a.pth", "a.safetensors", "nested.pth"])
def test_a_file_in_their_layout(name, theirs, tmp_path):
    state = theirs.state_dict()
    save({"state_dict": {f"module.{k}": v for k, v in state.items()}} if "nested" in name else state, tmp_path / name)
    encoder = resolve_backbone("resnet18", SHAPE, weights=str(tmp_path / name))
    theirs.fc = torch.nn.Identity()
    x = torch.rand(2, *SHAPE)
    torch.testing.assert_close(encoder.eval()(x), theirs(x))
    assert encoder.normalisation == IMAGENET and encoder.origin == str(tmp_path / name)


def test_their_own_weights_come_by_their_own_way(theirs, monkeypatch):
    monkeypatch.setattr(TorchvisionTrunk, "download", lambda self: theirs.state_dict())
    encoder = resolve_backbone("torchvision:resnet18", SHAPE)
    assert torch.equal(encoder.trunk.model.conv1.weight, theirs.conv1.weight)
    assert encoder.origin == "torchvision:resnet18"
    scratch = resolve_backbone("torchvision:resnet18", SHAPE, weights="none")
    assert not torch.equal(scratch.trunk.model.conv1.weight, theirs.conv1.weight) and scratch.origin == ""
    assert scratch.normalisation is None


def test_default_is_what_torchvision_has_downloaded(theirs, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    file = tmp_path / "hub/checkpoints/resnet18-f37072fd.pth"
    file.parent.mkdir(parents=True)
    torch.save(theirs.state_dict(), file)
    encoder = Encoder("torchvision:resnet18", SHAPE)
    load_weights(encoder)
    assert torch.equal(encoder.trunk.model.layer4[1].conv2.weight, theirs.layer4[1].conv2.weight)
    assert encoder.normalisation == IMAGENET


TIMM_SCRIPT = """
import torch
from zoo.networks.encoder import Encoder
from zoo.io.library_weights import load_weights
encoder = Encoder("timm:test_resnet.r160_in1k", (3, 32, 32))
load_weights(encoder)
torch.save({"state": encoder.trunk.model.state_dict(), "normalisation": encoder.normalisation}, "loaded.pt")
"""


@pytest.mark.long
@pytest.mark.nightly
def test_default_is_what_timm_has_downloaded(tmp_path):
    """In a process of its own: where the hub's cache is, is asked when it is imported."""
    timm = pytest.importorskip("timm")
    environment = {**os.environ, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    options = {"cwd": tmp_path, "env": environment, "capture_output": True, "text": True, "timeout": 120}
    done = subprocess.run([sys.executable, "-c", TIMM_SCRIPT], **options)
    assert "could not be downloaded" in done.stderr.strip().splitlines()[-1]
    theirs = timm.create_model("test_resnet.r160_in1k")
    snapshot = tmp_path / "hub/models--timm--test_resnet.r160_in1k/snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs/main").write_text("a" * 40)
    save_file(theirs.state_dict(), snapshot / "model.safetensors")
    done = subprocess.run([sys.executable, "-c", TIMM_SCRIPT], **options)
    assert done.returncode == 0, done.stderr
    loaded = torch.load(tmp_path / "loaded.pt", weights_only=True)
    assert all(torch.equal(value, theirs.state_dict()[name]) for name, value in loaded["state"].items())
    assert loaded["normalisation"] == {key: list(theirs.pretrained_cfg[key]) for key in ("mean", "std")}


@pytest.mark.parametrize("normalisation", [None, {"mean": [0.3], "std": [0.4]}, {"sample_offset": 0.1}])
def test_a_file_of_our_own_says_its_normalisation(normalisation, tmp_path):
    save_state(Encoder("torchvision:resnet18", SHAPE, None, normalisation), tmp_path / "a.safetensors")
    encoder = Encoder("torchvision:resnet18", SHAPE)
    load_weights(encoder, str(tmp_path / "a.safetensors"))
    assert encoder.normalisation == normalisation


def test_without_a_network_there_is_a_way_out(monkeypatch):
    def fail(self):
        raise OSError("no route to host")

    monkeypatch.setattr(TorchvisionTrunk, "download", fail)
    with pytest.raises(ValueError, match=r"could not be downloaded \(no route to host\).*`weights` FILE"):
        resolve_backbone("resnet18", SHAPE)


def test_what_does_not_fit_is_named(theirs, tmp_path):
    state = {k.replace("layer4", "last"): v for k, v in theirs.state_dict().items()}
    save(state, tmp_path / "a.pth")
    with pytest.raises(
        ValueError, match=r"missing: layer4.0.conv1.weight, .* unexpected: last.0.conv1.weight, .*another"
    ):
        load_weights(Encoder("torchvision:resnet18", SHAPE), str(tmp_path / "a.pth"))
    (tmp_path / "b.pth").write_bytes((tmp_path / "a.pth").read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"b\.pth is damaged"):
        load_weights(Encoder("torchvision:resnet18", SHAPE), str(tmp_path / "b.pth"))
    torch.save({"a": [1, 2]}, tmp_path / "c.pth")
    with pytest.raises(ValueError, match=r"c\.pth holds no weights by name"):
        load_weights(Encoder("torchvision:resnet18", SHAPE), str(tmp_path / "c.pth"))
    with pytest.raises(FileNotFoundError, match="no weights at"):
        load_weights(Encoder("torchvision:resnet18", SHAPE), str(tmp_path / "d.pth"))
    with pytest.raises(ValueError, match="for networks of torchvision and timm; got 'conv'"):
        load_weights(Encoder("conv", SHAPE))


@pytest.mark.parametrize(
    "content", [b"", b"junk", b"e\x00", b"PK\x03\x04" + bytes(60), b"\x80\x02", b"hello, I am text\n"]
)
def test_files_of_any_other_kind_are_named_in_a_sentence(content, tmp_path):
    (tmp_path / "b.pth").write_bytes(content)
    with torch.device("meta"):
        encoder = Encoder("torchvision:resnet18", (3, 32, 32))
    with pytest.raises(ValueError, match=r"b\.pth is (damaged or|not loaded: it is) no file of weights[:,] \w+"):
        load_weights(encoder, str(tmp_path / "b.pth"))

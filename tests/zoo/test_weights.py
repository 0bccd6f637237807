import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import resnet18

from zoo.backbone import load_backbone
from zoo.networks.encoder import Encoder
from zoo.networks.others import TorchvisionTrunk
from zoo.weights import load_weights

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
    encoder, origin = load_backbone("resnet18", SHAPE, weights=str(tmp_path / name))
    theirs.fc = torch.nn.Identity()
    x = torch.rand(2, *SHAPE)
    torch.testing.assert_close(encoder.eval()(x), theirs(x))
    assert encoder.normalisation == IMAGENET and origin == str(tmp_path / name)


def test_their_own_weights_come_by_their_own_way(theirs, monkeypatch):
    monkeypatch.setattr(TorchvisionTrunk, "download", lambda self: theirs.state_dict())
    encoder, origin = load_backbone("torchvision:resnet18", SHAPE)
    assert torch.equal(encoder.trunk.model.conv1.weight, theirs.conv1.weight) and origin == "torchvision:resnet18"
    scratch, origin = load_backbone("torchvision:resnet18", SHAPE, weights="none")
    assert not torch.equal(scratch.trunk.model.conv1.weight, theirs.conv1.weight) and origin == ""
    assert scratch.normalisation is None


def test_without_a_network_there_is_a_way_out(monkeypatch):
    def fail(self):
        raise OSError("no route to host")

    monkeypatch.setattr(TorchvisionTrunk, "download", fail)
    with pytest.raises(ValueError, match=r"could not be downloaded \(no route to host\).*--model.weights FILE"):
        load_backbone("resnet18", SHAPE)


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

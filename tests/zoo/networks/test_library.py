import re
import sys

import pytest
import torch
from torch import nn
from torchvision import models

from zoo.networks.encoder import Encoder
from zoo.networks.library import TorchvisionTrunk
from zoo.networks.spec import TRUNKS, build

IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}


# One of each family that can be used, and a size that it takes.
FAMILIES = {
    **dict.fromkeys(["resnet18", "mobilenet_v2", "mobilenet_v3_small", "vgg11", "convnext_tiny", "densenet121"], 64),
    **dict.fromkeys(["alexnet", "efficientnet_b0", "regnet_y_400mf", "shufflenet_v2_x0_5", "swin_t", "swin_v2_t"], 64),
    **dict.fromkeys(["maxvit_t", "vit_b_32"], 224),
}
LEFT_OUT = {"googlenet", "inception", "squeezenet", "mnasnet"}


def family(arch):
    return re.split(r"[\d_]", arch)[0]


def test_every_family_is_tested_or_left_out():
    resnets = {"resnext", "wide"}
    assert {family(a) for a in models.list_models(module=models)} == {family(a) for a in FAMILIES} | LEFT_OUT | resnets


@pytest.mark.parametrize(("arch", "side"), FAMILIES.items())
def test_features_are_what_its_last_layer_gets(arch, side):
    trunk = TorchvisionTrunk((3, side, side), arch)
    assert all(layer.training for layer in trunk.modules())
    trunk.eval()
    theirs = models.get_model(arch).eval()
    last = [name for name, layer in theirs.named_modules() if isinstance(layer, nn.Linear)][-1]
    assert trunk.classifier == last
    unused = theirs.load_state_dict(trunk.model.state_dict(), strict=False)
    assert {key.rpartition(".")[0] for key in unused.missing_keys} == {last} and not unused.unexpected_keys
    seen = []
    theirs.get_submodule(last).register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    x = torch.rand(2, 3, side, side)
    theirs(x)
    torch.testing.assert_close(trunk(x), seen[0])
    assert trunk.feature_dim == seen[0].shape[1] and trunk.normalisation() == IMAGENET


def test_a_transformer_of_its_own_size_only():
    with torch.device("meta"):
        assert TorchvisionTrunk((3, 224, 224), "vit_b_32").feature_dim == 768
        with pytest.raises(ValueError, match=r"vit_b_32 cannot take images of \(3, 64, 64\): .*224"):
            TorchvisionTrunk((3, 64, 64), "vit_b_32")


def test_grey_pictures_are_repeated():
    trunk, x = build("torchvision:resnet18", TRUNKS, input_shape=(1, 32, 32)).eval(), torch.rand(2, 1, 32, 32)
    torch.testing.assert_close(trunk(x), trunk(x.repeat(1, 3, 1, 1)))


def test_timm():
    pytest.importorskip("timm")
    import timm

    encoder = Encoder("timm:resnet10t", (3, 64, 64)).eval()
    theirs = timm.create_model("resnet10t", num_classes=0).eval()
    theirs.load_state_dict(encoder.trunk.model.state_dict())
    x = torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(encoder(x), theirs(x))
    assert encoder.trunk.classifier == "fc" and set(encoder.trunk.normalisation()) == {"mean", "std"}
    transformer = Encoder("timm:vit_tiny_patch16_224", (1, 32, 32)).eval()  # whose size can be chosen
    assert transformer(torch.rand(2, 1, 32, 32)).shape == (2, 192)


def test_mistakes_are_named():
    with pytest.raises(ValueError, match=r"torchvision has no classifier 'resnet19' \(did you mean 'resnet1"):
        build("torchvision:resnet19", TRUNKS, input_shape=(3, 64, 64))
    with pytest.raises(ValueError, match=r"1 or 3 channels; got \(4, 64, 64\)"):
        build("torchvision:resnet18", TRUNKS, input_shape=(4, 64, 64))
    for arch in ("squeezenet1_0", "googlenet", "inception_v3"):
        with pytest.raises(ValueError, match="does not end in one linear layer"):
            build(f"torchvision:{arch}", TRUNKS, input_shape=(3, 299, 299))
    with pytest.raises(ValueError, match="mnasnet0_5 cannot be read from plain weights"):
        build("torchvision:mnasnet0_5", TRUNKS, input_shape=(3, 64, 64))
    with pytest.raises(ValueError, match=r"alexnet cannot take images of \(3, 32, 32\): .*too small"):
        build("torchvision:alexnet", TRUNKS, input_shape=(3, 32, 32))


@pytest.mark.parametrize(
    ("arch", "says"),
    [
        ("resnet18.nonsense", "resnet18; there are: .*resnet18.a1_in1k"),
        ("deit_tiny_distilled_patch16_224", "does not end in one linear layer"),
        ("hf-hub:timm/resnet18.a1_in1k", "no classifier"),
    ],
)
def test_mistakes_with_timm_are_one_line(arch, says):
    pytest.importorskip("timm")
    with pytest.raises(ValueError, match=says) as error:
        build(f"timm:{arch}", TRUNKS, input_shape=(3, 224, 224))
    assert "\n" not in str(error.value)


def test_without_timm_it_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ValueError, match=r"pip install 'pretraining-zoo\[timm\]'"):
        build("timm:resnet18", TRUNKS, input_shape=(3, 32, 32))


OLD = {
    "densenet121": (r"(denselayer\d+\.(?:norm|conv))([12]\.)", r"\1.\2"),
    "vit_b_32": (r"\.mlp\.([03])\.", lambda found: f".mlp.linear_{1 + int(found.group(1)) // 3}."),
    "resnet18": ("", ""),
}


@pytest.mark.parametrize("arch", OLD)
def test_old_files_are_read_as_torchvision_reads_them(arch, monkeypatch):
    """Their names were others, and batch norms did not count."""
    pattern, name = OLD[arch]
    state = {re.sub(pattern, name, k): v for k, v in models.get_model(arch).state_dict().items()}
    state = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    default = models.get_model_weights(arch).DEFAULT
    monkeypatch.setattr(type(default), "get_state_dict", lambda *_, **__: dict(state))
    theirs = models.get_model(arch, weights=default).state_dict()
    assert theirs.keys() != state.keys()
    trunk = TorchvisionTrunk((3, 224, 224), arch)
    renamed = trunk.own_names(trunk.download())
    assert renamed.keys() == trunk.model.state_dict().keys()
    assert all(torch.equal(value, theirs[name]) for name, value in renamed.items())


def test_what_is_measured_is_a_copy():
    """CoaT shares parameters between layers, which must have their values afterwards."""
    timm = pytest.importorskip("timm")
    trunk, theirs = (
        build("timm:coat_tiny", TRUNKS, input_shape=(3, 64, 64)).eval(),
        timm.create_model("coat_tiny", img_size=64),
    )
    assert {value.device.type for value in trunk.state_dict().values()} == {"cpu"}
    theirs.reset_classifier(0)
    theirs.load_state_dict(trunk.model.state_dict())
    x = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(trunk(x), theirs.eval()(x))

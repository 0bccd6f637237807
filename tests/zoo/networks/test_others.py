import pytest
import torch
from torch import nn
from torchvision import models

from zoo.networks import TRUNKS, build
from zoo.networks.encoder import Encoder
from zoo.networks.others import TorchvisionTrunk

IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}


@pytest.mark.parametrize("arch", ["resnet18", "mobilenet_v3_small", "vgg11", "convnext_tiny", "densenet121"])
def test_features_are_what_its_last_layer_gets(arch):
    trunk = TorchvisionTrunk((3, 64, 64), arch).eval()
    theirs = models.get_model(arch).eval()
    last = [name for name, layer in theirs.named_modules() if isinstance(layer, nn.Linear)][-1]
    assert trunk.classifier == last
    unused = theirs.load_state_dict(trunk.model.state_dict(), strict=False)
    assert unused.missing_keys == [f"{last}.weight", f"{last}.bias"] and not unused.unexpected_keys
    seen = []
    theirs.get_submodule(last).register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    x = torch.rand(2, 3, 64, 64)
    theirs(x)
    torch.testing.assert_close(trunk(x), seen[0])
    assert trunk.feature_dim == seen[0].shape[1] and trunk.normalisation() == IMAGENET


def test_a_transformer_of_its_own_size_only():
    assert TorchvisionTrunk((3, 224, 224), "vit_b_32").feature_dim == 768
    with pytest.raises(ValueError, match=r"vit_b_32 cannot take pictures of \(3, 64, 64\): .*224"):
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
    with pytest.raises(ValueError, match="does not end in one linear layer"):
        build("torchvision:squeezenet1_0", TRUNKS, input_shape=(3, 64, 64))

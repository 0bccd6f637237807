import re

import pytest
import torch
from torchvision.models import resnet18

from zoo.networks.cifar_resnet import CIFARResNet
from zoo.networks.spec import TRUNKS, build


def test_as_torchvisions_resnet18_with_the_small_stem():
    theirs = resnet18()
    theirs.conv1 = torch.nn.Conv2d(3, 64, 3, padding=1, bias=False)
    theirs.maxpool, theirs.fc = torch.nn.Identity(), torch.nn.Identity()
    ours = CIFARResNet((3, 32, 32), width=64, blocks=(2, 2, 2, 2), stem_stride=1)

    def renamed(name):
        name = re.sub(r"^conv1", "0.0", re.sub(r"^bn1", "0.1", name))
        name = re.sub(r"^layer(\d)", r"\1", name)
        return re.sub(r"\.bn(\d)", r".norm\1", name).replace("downsample", "shortcut")

    ours.load_state_dict({renamed(name): value for name, value in theirs.state_dict().items()})
    x = torch.randn(2, 3, 32, 32)
    for mode in (True, False):
        torch.testing.assert_close(ours.train(mode)(x), theirs.train(mode)(x), rtol=1e-4, atol=1e-5)
    assert ours.feature_dim == 512 and ours.forward_features(x).shape == (2, 512, 4, 4)


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 32, 32), (3, 65, 50), (3, 224, 224)])
@pytest.mark.parametrize("norm", ["batch", "group"])
def test_takes_images_of_any_size(shape, norm):
    trunk = build({"name": "cifar_resnet", "width": 8, "norm": norm}, TRUNKS, input_shape=shape).eval()
    assert trunk(torch.rand(2, *shape)).shape == (2, trunk.feature_dim) == (2, 32)
    assert trunk(torch.rand(2, shape[0], 6, 5)).shape == (2, 32)  # whatever it was made for
    assert min(trunk.forward_features(torch.rand(1, *shape)).shape[2:]) <= 14


@pytest.mark.parametrize(("side", "stride"), [(8, 1), (16, 1), (17, 2), (48, 2), (64, 4)])
def test_the_stem_suits_the_images(side, stride):
    assert CIFARResNet((3, side, side), width=8)[0][0].stride == (stride, stride)


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="takes images"):
        CIFARResNet((13,))
    with pytest.raises(ValueError, match="norm must be one of batch, group; got 'layer'"):
        build({"name": "cifar_resnet", "norm": "layer"}, TRUNKS, input_shape=(1, 8, 8))

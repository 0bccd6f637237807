import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_images

from datamodules.images import Digits
from datamodules.mnist_m import MNISTM, DigitsM, blend, read_photographs


def test_blending_is_the_absolute_difference_with_a_patch():
    generator = torch.Generator().manual_seed(0)
    digits = torch.randint(256, (20, 1, 4, 5), generator=generator, dtype=torch.uint8)
    photographs = torch.randint(256, (3, 3, 9, 8), generator=generator, dtype=torch.uint8)
    found = blend(digits, photographs, seed=1)
    assert found.dtype == torch.uint8 and found.shape == (20, 3, 4, 5)
    windows = photographs.unfold(2, 4, 1).unfold(3, 5, 1)  # (3, 3, 6, 4, 4, 5)
    patches = windows.permute(0, 2, 3, 1, 4, 5).reshape(-1, 3, 4, 5)
    used = set()
    for digit, image in zip(digits, found, strict=True):
        expected = (patches.int() - digit.int()).abs()
        matches = (expected == image.int()).flatten(1).all(1).nonzero().flatten().tolist()
        assert len(matches) == 1
        used.update(matches)
    assert len(used) > 10
    assert torch.equal(found, blend(digits, photographs, seed=1)) and not torch.equal(
        found, blend(digits, photographs, 2)
    )


def test_the_bundled_photographs_are_parted_by_columns():
    train, test = read_photographs("")
    both = torch.cat([train, test], 3)
    expected = np.stack(load_sample_images().images).transpose(0, 3, 1, 2)
    assert np.array_equal(both.numpy(), expected) and test.shape[3] == 128


def test_photographs_of_a_folder(tmp_path):
    for i in range(12):
        Image.new("RGB", (70, 80), (20 * i, 0, 0)).save(tmp_path / f"{i:02}.png")
    train, test = read_photographs(str(tmp_path))
    assert train.shape == (9, 3, 64, 64) and test[:, 0, 0, 0].tolist() == [180, 200, 220]
    with pytest.raises(FileNotFoundError, match="no photographs under"):
        read_photographs(str(tmp_path / "none"))


def test_the_same_digits_in_another_domain():
    data, plain = DigitsM(), Digits()
    data.setup()
    plain.setup()
    assert data.input_shape == (3, 8, 8) and data.num_classes == 10
    for part, split in data.splits.items():
        assert torch.equal(split.labels, plain.splits[part].labels)
        assert split.images.shape == (len(split.labels), 3, 8, 8)


def test_photographs_smaller_than_digits_are_refused():
    with pytest.raises(ValueError, match=r"photographs of \(3, 9\) are smaller than digits of 4 x 5"):
        blend(torch.zeros(1, 1, 4, 5, dtype=torch.uint8), torch.zeros(1, 3, 3, 9, dtype=torch.uint8), 0)


def test_mnist_m(real_data):
    data = MNISTM(str(real_data), str(real_data / "CIFAR10-subset/cifar-10-batches-bin"))
    data.prepare_data()
    data.setup()
    sizes = {part: len(split.labels) for part, split in data.splits.items()}
    assert sizes["train"] + sizes["val"] == 60000 and sizes["test"] == 10000
    means = data.splits["train"].images[:5000].float().mean((0, 2, 3)) / 255
    assert ((means > 0.35) & (means < 0.55)).all()  # about 0.45 is reported of MNIST-M

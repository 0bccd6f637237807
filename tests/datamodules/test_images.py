import gzip
from urllib.error import URLError

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from datamodules.images import CIFAR10, MNIST, Digits, FashionMNIST


def loaded(data):
    data.prepare_data()
    data.setup()
    return data.splits


def pixels(split):
    return split.images.double() / 255


def test_digits_are_scikit_learns():
    splits = loaded(Digits())
    images = torch.cat([split.images for split in splits.values()]).flatten(1).sort(0).values
    reference = torch.from_numpy(load_digits().data * 255 / 16).round().to(torch.uint8).sort(0).values
    assert torch.equal(images, reference)
    assert [len(splits[part].images) for part in ("train", "val", "test")] == [1295, 143, 359]


def test_digits_test_set_does_not_depend_on_the_seed():
    assert torch.equal(loaded(Digits(seed=1))["test"].images, loaded(Digits(seed=2))["test"].images)


def check_constants(data):
    images = pixels(loaded(data)["train"]).transpose(0, 1).flatten(1)
    torch.testing.assert_close(images.mean(1), torch.tensor(data.mean).double(), atol=6e-3, rtol=0)
    torch.testing.assert_close(images.std(1), torch.tensor(data.std).double(), atol=6e-3, rtol=0)


def test_digits_constants_are_those_of_its_pixels():
    check_constants(Digits())


@pytest.mark.parametrize("cls", [MNIST, FashionMNIST])
def test_real_files(cls, real_data):
    data = cls(str(real_data))
    splits = loaded(data)
    assert sum(len(splits[part].images) for part in ("train", "val")) == 60_000
    counts = (splits["train"].labels.bincount() + splits["val"].labels.bincount()).tolist()
    assert counts == ([5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949] if cls is MNIST else [6000] * 10)
    assert splits["test"].images.shape == (10_000, 1, 28, 28)
    check_constants(data)


def test_real_cifar_records(real_data):
    splits = loaded(CIFAR10(str(real_data)))
    assert splits["test"].images.shape == (2000, 3, 32, 32) and len(splits["val"].images) == 1000
    check_constants(CIFAR10(str(real_data)))


def test_mnist_files_where_they_lie(tmp_path):
    rng = np.random.default_rng(0)
    for part, count in (("train", 40), ("t10k", 10)):
        images, labels = rng.integers(0, 256, (count, 28, 28)), np.arange(count) % 10
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes()
            content = gzip.compress(header + array.astype(np.uint8).tobytes())
            (tmp_path / f"{part}-{kind}-ubyte.gz").write_bytes(content)
    splits = loaded(MNIST(str(tmp_path), val_fraction=0.25))
    assert [len(splits[part].images) for part in ("train", "val", "test")] == [30, 10, 10]


@pytest.mark.parametrize("cls", [MNIST, FashionMNIST, CIFAR10])
def test_neither_there_nor_to_be_had(cls, tmp_path, monkeypatch):
    def unreachable(self):
        raise URLError("no route to host")

    monkeypatch.setattr(cls, "download", unreachable)
    with pytest.raises(FileNotFoundError) as error:
        cls(str(tmp_path)).prepare_data()
    for said in (cls.__name__, str(tmp_path / cls.folders[0]), "no route to host", "`data.root`"):
        assert said in str(error.value)


@pytest.mark.parametrize("source", [Digits, MNIST, FashionMNIST, CIFAR10])
def test_classes_have_names(source):
    assert source.task == "classification" and len(set(source.class_names)) == 10 and source().num_classes == 10


def write_idx(path, array):
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes()
    path.write_bytes(header + array.astype(np.uint8).tobytes())


@pytest.mark.parametrize(
    "images, labels, said",
    [
        ((20, 28, 28), np.arange(19) % 10, "labels-idx1-ubyte holds 19 labels, .*images-idx3-ubyte 20 images"),
        ((20, 28, 28), np.arange(20), "labels-idx1-ubyte is damaged: label 10 of image 10.*10 of 20"),
        ((20, 28, 28), np.zeros((20, 1)), "labels-idx1-ubyte holds 20 x 1"),
        ((20, 32, 32), np.arange(20) % 10, "images-idx3-ubyte holds 20 x 32 x 32, not images of 28 x 28"),
        ((20, 784), np.arange(20) % 10, "images-idx3-ubyte holds 20 x 784"),
        ((0, 28, 28), np.zeros(0), "images-idx3-ubyte holds 0 x 28 x 28"),
    ],
)
def test_images_and_labels_that_do_not_fit_each_other_are_named(tmp_path, images, labels, said):
    for part in ("train", "t10k"):
        write_idx(tmp_path / f"{part}-images-idx3-ubyte", np.zeros(images))
        write_idx(tmp_path / f"{part}-labels-idx1-ubyte", labels)
    with pytest.raises(ValueError, match=said):
        loaded(MNIST(str(tmp_path)))

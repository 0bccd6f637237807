from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torchvision.models import inception_v3

from callbacks.samples.feature_extractor import (
    ConvFeatureExtractor,
    InceptionFeatureExtractor,
    downscale,
    train_extractor,
    untrained_extractor,
)
from callbacks.samples.feature_extractor_store import (
    default_extractor,
    extractor_from_option,
    load_extractor,
    save_extractor,
)
from datamodules.images import Digits


@pytest.fixture(scope="module")
def digits():
    data = Digits()
    data.setup()
    return data


@pytest.fixture(scope="module")
def extractor(digits):
    return train_extractor(*digits.splits["train"])


def test_it_knows_the_classes_of_images_it_never_saw(digits, extractor):
    images, labels = digits.splits["test"]
    assert (extractor.classify(extractor(images)) == labels).float().mean() > 0.95
    assert not any(p.requires_grad for p in extractor.parameters()) and not extractor.training


def test_training_images_have_a_variance_of_one(digits, extractor):
    features = extractor(digits.splits["train"].images)
    assert features.var(0).mean() == pytest.approx(1, rel=1e-3) and features.mean(0).abs().max() < 1e-4


def test_the_same_images_and_seed_give_the_same_weights_and_leave_no_trace(digits, monkeypatch):
    monkeypatch.setattr("callbacks.samples.feature_extractor._STEPS", 20)
    state = torch.get_rng_state()
    first, second, other = (train_extractor(*digits.splits["train"], seed=seed).checksum() for seed in (0, 0, 1))
    assert first == second != other
    assert torch.equal(torch.get_rng_state(), state)


def test_untrained_for_images_without_labels(digits, tmp_path):
    images = digits.splits["train"].images
    found = default_extractor(images, torch.full((len(images),), -1), "a", tmp_path)
    assert found.classes == 0 and "untrained" in found.about and not list(tmp_path.iterdir())
    assert found.checksum() == untrained_extractor(images).checksum()


def test_trained_once_for_the_same_data(digits, tmp_path, monkeypatch):
    calls = []
    fake = ConvFeatureExtractor((1, 8, 8), 10)
    monkeypatch.setattr(
        "callbacks.samples.feature_extractor_store.train_extractor", lambda *a: calls.append(len(a[0])) or fake
    )
    images, labels = digits.splits["train"]
    for fingerprint in ("a", "a", "b", None, None):
        assert default_extractor(images, labels, fingerprint, tmp_path).checksum() == fake.checksum()
    default_extractor(images.flip(0), labels, None, tmp_path)  # other images
    assert calls == [len(images)] * 4 and len(list(tmp_path.iterdir())) == 4
    default_extractor(images, torch.where(labels < 5, labels, -1), "c", tmp_path)
    assert calls[4] == int((labels < 5).sum())


def test_a_folder_that_cannot_be_written_is_said_and_no_more(digits, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(
        "callbacks.samples.feature_extractor_store.train_extractor", lambda *a: ConvFeatureExtractor((1, 8, 8), 10)
    )
    (tmp_path / "file").write_text("")
    assert default_extractor(*digits.splits["train"], "a", tmp_path / "file").classes == 10
    assert "cannot be kept" in caplog.text


def test_files_give_the_same_extractor(extractor, tmp_path):
    save_extractor(extractor, tmp_path / "a.safetensors")
    loaded = extractor_from_option(str(tmp_path / "a.safetensors"))
    assert loaded.checksum() == extractor.checksum() and loaded.about == extractor.about
    assert loaded.shape == (1, 8, 8) and loaded.classes == 10
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]


def test_changed_weights_are_refused_in_one_line(extractor, tmp_path):
    path = tmp_path / "a.safetensors"
    save_extractor(extractor, path)
    with safe_open(path, "pt") as file:
        facts = file.metadata()
    tensors = load_file(path)
    tensors["head.bias"][0] += 1e-3
    save_file(tensors, path, facts)
    with pytest.raises(
        ValueError, match=r"a\.safetensors cannot be used: its weights do not match their checksum"
    ) as error:
        load_extractor(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [b"", b"nonsense" * 100])
def test_damaged_files_are_refused(content, tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="cannot be used"):
        load_extractor(path)
    save_file({"x": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match="another version, or is no feature extractor"):
        load_extractor(path)


def test_a_file_is_whole_or_not_there(extractor, tmp_path, monkeypatch):
    def breaks(tensors, path, facts):
        Path(path).write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr("callbacks.samples.feature_extractor_store.save_file", breaks)
    with pytest.raises(OSError, match="disk full"):
        save_extractor(extractor, tmp_path / "a.safetensors")
    assert not list(tmp_path.iterdir())


def test_images_of_another_shape_are_named(extractor):
    with pytest.raises(ValueError, match=r"images of \(1, 8, 8\); these are \(3, 8, 8\)"):
        extractor(torch.zeros(2, 3, 8, 8, dtype=torch.uint8))


@pytest.mark.parametrize("shape", [(1, 3, 5), (3, 28, 28), (1, 32, 17), (2, 1, 1)])
def test_any_shape_up_to_32_pixels(shape):
    images = torch.randint(0, 256, (20, *shape), dtype=torch.uint8)
    features = untrained_extractor(images)(images)
    assert features.shape == (20, 64) and features.isfinite().all()


def test_large_images_are_averaged_down():
    x = torch.randint(0, 256, (2, 3, 64, 96), dtype=torch.uint8)
    assert downscale(x).shape == (2, 3, 32, 32)
    assert downscale(x)[0, 0, 0, 0] == x[0, 0, :2, :3].float().mean().round()
    assert downscale(x[..., :20, :20]) is not None and torch.equal(downscale(x[..., :20, :20]), x[..., :20, :20])


def test_inception_from_torchvisions_weights(tmp_path, monkeypatch):
    torch.manual_seed(0)
    network = inception_v3(weights=None, init_weights=False)
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    path = folder / "inception_v3_google-0cc3c7bd.pth"
    torch.save(network.state_dict(), path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    extractor = extractor_from_option("inception")
    assert isinstance(extractor, InceptionFeatureExtractor) and len(extractor.checksum()) == 64
    grey = torch.randint(0, 256, (2, 1, 28, 28), dtype=torch.uint8)
    features = extractor(grey)
    assert features.shape == (2, 2048)
    torch.testing.assert_close(features, extractor(grey.expand(-1, 3, -1, -1)))
    extractor.learn_classes(torch.eye(4, 2048), torch.tensor([3, 7, 7, -1]))
    assert extractor.classes == 2 and extractor.classify(torch.eye(3, 2048)).tolist() == [3, 7, 7]


def test_weights_that_are_not_there_or_others(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(ValueError, match=r"no weights at .*inception_v3"):
        extractor_from_option("inception")
    torch.save({"x": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"other\.pth is not torchvision's weights"):
        extractor_from_option(str(tmp_path / "other.pth"))
    assert extractor_from_option("auto") is None

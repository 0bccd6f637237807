from types import SimpleNamespace

import pytest
import torch
from torchvision.transforms.v2 import functional as tv

from datamodules.images import Digits
from zoo.networks.encoder import Encoder


def ready(training=False, **options):
    data = Digits(**options)
    data.setup()
    data.trainer = SimpleNamespace(
        training=training, global_rank=0, world_size=1, strategy=SimpleNamespace(root_device=torch.device("cpu"))
    )
    return data


def test_unit_is_pixels_over_255_and_standard_is_torchvisions_normalize():
    raw = next(iter(ready().val_dataloader()))
    unit = ready().on_after_batch_transfer(raw, 0)["input"]
    torch.testing.assert_close(unit, tv.to_dtype(raw["input"], torch.float32, scale=True))
    data = ready(normalise="standard")
    standard = data.on_after_batch_transfer(raw, 0)["input"]
    torch.testing.assert_close(standard, tv.normalize(unit, **data.normalisation))


def test_batches_hold_what_the_contract_says_and_are_new():
    raw = next(iter(ready().val_dataloader()))
    before = raw["input"].clone()
    batch = ready().on_after_batch_transfer(raw, 0)
    assert batch.keys() == {"input", "label", "index"} and batch["label"].dtype == torch.long
    assert torch.equal(raw["input"], before) and "seed" in raw


def test_only_training_is_augmented_and_repeats_with_the_batch():
    options = {"shift": 2, "flip": True, "rotate": 20, "jitter": 0.4}
    raw = next(iter(ready(**options).train_dataloader()))
    plain = ready(**options).on_after_batch_transfer(raw, 0)["input"]
    torch.testing.assert_close(plain, raw["input"] / 255)
    first, second = (ready(training=True, **options).on_after_batch_transfer(raw, 0)["input"] for _ in range(2))
    assert torch.equal(first, second) and not torch.allclose(first, plain)


def test_shape_and_classes_are_known_before_anything_is_read():
    data = Digits()
    assert (data.input_shape, data.num_classes, data.splits) == ((1, 8, 8), 10, {})


def test_label_budget_spares_validation_and_keeps_the_unlabelled():
    full, budget = ready(), ready(labels_per_class=5, label_seed=1)
    labels = budget.splits["train"].labels
    assert len(labels) == len(full.splits["train"].labels) and (labels >= 0).sum() == 50
    assert torch.equal(budget.splits["val"].labels, full.splits["val"].labels)
    alone = ready(labels_per_class=5, label_seed=1, labelled_only=True).splits["train"]
    assert torch.equal(alone.images, budget.splits["train"].images[labels >= 0])


@pytest.mark.parametrize(
    "options, says",
    [
        ({"batch_size": 0}, "batch_size"),
        ({"jitter": 2}, "jitter"),
        ({"rotate": 200}, "rotate"),
        ({"val_fraction": 1}, "val_fraction"),
        ({"labelled_only": True}, "labels_per_class"),
    ],
)
def test_bad_options_are_named(options, says):
    with pytest.raises(ValueError, match=says):
        Digits(**options)


def test_unknown_options_fail_by_name():
    with pytest.raises(TypeError, match="batchsize"):
        Digits(batchsize=3)


def binarised(kind, seed=0):
    data = Digits(binarise=kind, seed=seed)
    data.setup()
    return data


def test_binarised_by_threshold_or_by_chance():
    grey = binarised("none").splits["train"].images.float() / 255
    static = binarised("static")
    drawn = static.splits["train"].images
    assert set(drawn.unique().tolist()) == {0, 255}
    assert abs(drawn.float().mean() / 255 - grey.mean()) < 0.01
    assert torch.equal(drawn, binarised("static").splits["train"].images)
    assert torch.equal(binarised("dynamic").splits["train"].images, binarised("none").splits["train"].images)
    assert set(binarised("dynamic").splits["test"].images.unique().tolist()) == {0, 255}
    batch = {"input": torch.tensor([[[[0, 127, 128, 255]]]], dtype=torch.uint8), "seed": 0}
    assert binarised("threshold").on_after_batch_transfer(batch, 0)["input"].flatten().tolist() == [0, 0, 1, 1]


def test_dynamic_draws_anew_with_the_batchs_seed_and_leaves_what_is_drawn():
    data = binarised("dynamic")
    grey = torch.full((4, 1, 8, 8), 128, dtype=torch.uint8)
    first, again, other = (data.on_after_batch_transfer({"input": grey, "seed": s}, 0)["input"] for s in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert set(first.unique().tolist()) == {0.0, 1.0}
    drawn = next(iter(data.val_dataloader()))
    assert torch.equal(data.on_after_batch_transfer(drawn, 0)["input"] * 255, drawn["input"].float())


def test_fingerprint_is_of_the_content():
    prints = {binarised(kind, seed).fingerprint for kind, seed in (("none", 0), ("none", 1), ("static", 0))}
    assert len(prints) == 3 and binarised("none").fingerprint in prints


def test_each_image_normalised_by_itself_and_the_encoder_does_the_same() -> None:
    """Against numpy in float64; what travels with the encoder repeats it."""
    data = Digits(normalise="sample", batch_size=16)
    data.setup()
    raw = next(iter(data.val_dataloader()))["input"]
    found = data.on_after_batch_transfer({"input": raw}, 0)["input"]
    pixels = raw.numpy().astype("float64").reshape(16, -1) / 255
    expected = (pixels - pixels.mean(1, keepdims=True)) / (pixels.std(1, ddof=1, keepdims=True) + 0.05)
    torch.testing.assert_close(found.flatten(1).double(), torch.from_numpy(expected), atol=1e-5, rtol=1e-5)
    encoder = Encoder("mlp", data.input_shape, normalisation=data.normalisation)
    torch.testing.assert_close(encoder.preprocess(raw), found)


def test_augmentation_signature_is_of_what_decides_the_training_inputs():
    plain = ready().augmentation_signature
    assert (plain["samples"], plain["augmentation_period"], plain["augmentation"]) == (
        len(ready().splits["train"].images),
        1,
        {},
    )
    assert (
        plain
        == ready(labels_per_class=5).augmentation_signature
        == ready(batch_size=7, augmentation_period=3).augmentation_signature
    )  # labels and order do not
    assert (
        plain["data"]
        != ready(normalise="standard").augmentation_signature["data"]
        != ready(val_fraction=0.2).augmentation_signature["data"]
    )
    flipped = ready(flip=True, augmentation_period=3).augmentation_signature
    assert (
        flipped["augmentation_period"] == 3 and ready(flip=True).augmentation_signature["augmentation_period"] is None
    )
    for other in ({"batch_size": 7}, {"shift": 1}, {"seed": 1}, {"augmentation_period": 2}):
        assert (
            ready(**{"flip": True, "augmentation_period": 3, **other}).augmentation_signature["augmentation"]
            != flipped["augmentation"]
        )
    assert ready(binarise="dynamic").augmentation_signature["augmentation_period"] is None


def test_a_view_that_comes_again_is_the_same():
    data = ready(training=True, shift=2, augmentation_period=2)

    def inputs(epoch):
        batches = data.train_dataloader()
        batches.sampler.set_epoch(epoch)
        return [data.on_after_batch_transfer(batch, 0) for batch in batches]

    for first, again in zip(inputs(1), inputs(3), strict=True):
        assert all(torch.equal(first[key], again[key]) for key in ("input", "index"))
    assert not torch.equal(inputs(0)[0]["input"], inputs(1)[0]["input"])

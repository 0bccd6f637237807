import copy

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from conftest import quiet_trainer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, f1_score, r2_score
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from datamodules.images import Digits
from zoo import AutoencoderModule, FinetuneModule, load_encoder, save_encoder
from zoo.networks.encoder import Encoder
from zoo.networks.low_rank import merged

SHAPE = (1, 8, 8)


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """An encoder that learned the digits for a moment."""
    folder = tmp_path_factory.mktemp("pretrained")
    pl.seed_everything(0, verbose=False)
    module = AutoencoderModule(SHAPE, network={"name": "conv", "width": 16}, latent_dim=8)
    quiet_trainer(folder, max_epochs=5).fit(module, Digits())
    return str(save_encoder(module.encoder, folder / "encoder"))


def digits(**options):
    return Digits(**{"labels_per_class": 10, "labelled_only": True, "batch_size": 25, **options})


def fitted(folder, data=None, epochs=2, trainer=None, **options):
    pl.seed_everything(0, verbose=False)
    module = FinetuneModule(SHAPE, 10, **options)
    before = {k: v.clone() for k, v in module.state_dict().items()}
    fit = quiet_trainer(folder, max_epochs=epochs, **(trainer or {}))
    fit.fit(module, data or digits())
    return module, before, fit


def changed(module, before, prefix=""):
    return {k for k, v in module.state_dict().items() if k.startswith(prefix) and not torch.equal(v, before[k])}


class Batchnormed(nn.Sequential):
    """A trunk with statistics of its own."""

    def __init__(self):
        super().__init__(
            *(nn.Conv2d(1, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU()),
            *(nn.Conv2d(8, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.5), nn.Flatten()),
        )


def everything(data, part):
    data.setup()
    images, labels = data.splits[part]
    return images.float() / 255, labels


def test_the_probe_is_scikit_learns_on_the_same_features(pretrained, tmp_path):
    data = digits()
    module, before, fit = fitted(tmp_path, data, backbone=pretrained, mode="probe", probe_l2=5.0)
    assert fit.global_step == 1 and not changed(module, before, "encoder.")
    encoder = load_encoder(pretrained)
    (x, y), (test, truth) = everything(data, "train"), everything(data, "test")
    with torch.no_grad():
        x, test_features = encoder.trunk(x), encoder.trunk(test)
    scaler = StandardScaler().fit(x)
    # Ours: sum of cross-entropies + l2 |w|^2. Theirs: C * that sum + |w|^2 / 2.
    theirs = LogisticRegression(C=1 / (2 * 5.0), max_iter=5000).fit(scaler.transform(x), y)
    expected = torch.tensor(theirs.predict_proba(scaler.transform(test_features))).float()
    found = module.eval().classify(test)
    torch.testing.assert_close(found, expected, atol=0.01, rtol=0)
    score = fit.test(module, data, verbose=False)[0]["test/score"]
    assert score == pytest.approx((found.argmax(1) == truth).float().mean().item(), abs=1e-6) and score > 0.8


@pytest.mark.parametrize("options", [{"mode": "probe"}, {"freeze_norm": True}, {"lora_rank": 2}])
def test_frozen_is_bit_identical_statistics_and_all(options, tmp_path):
    pl.seed_everything(0, verbose=False)
    trunk = Batchnormed()
    start = copy.deepcopy(trunk.state_dict())
    module, _, _ = fitted(tmp_path, backbone=trunk, **options)
    after = module.encoder.trunk.state_dict()
    norms = [k for k in start if k.startswith(("1.", "4."))]
    assert len(norms) == 10 and all(torch.equal(after[k], start[k]) for k in norms)
    if options == {"mode": "probe"}:
        assert all(torch.equal(after[k], start[k]) for k in start)
    elif options == {"freeze_norm": True}:
        assert not torch.equal(after["0.weight"], start["0.weight"])
    else:
        assert torch.equal(after["0.parametrizations.weight.original"], start["0.weight"])
        assert not torch.equal(merged(after)["0.weight"], start["0.weight"])


@pytest.mark.parametrize("options", [{"mode": "probe"}, {"freeze_norm": True}])
def test_a_resnets_statistics_are_frozen_too(options, tmp_path):
    data = digits(labels_per_class=2)
    module, before, _ = fitted(tmp_path, data, epochs=2, backbone="resnet18", weights="none", **options)
    norms = {k for k in before if "bn" in k or "downsample.1" in k}
    assert len(norms) == 100 and not norms & changed(module, before)
    assert ("encoder.trunk.model.conv1.weight" in changed(module, before)) == ("freeze_norm" in options)


def test_without_freezing_statistics_move(tmp_path):
    module, before, _ = fitted(tmp_path, backbone=Batchnormed())
    assert {"encoder.trunk.1.running_mean", "encoder.trunk.1.weight"} <= changed(module, before, "encoder.")


def test_the_probe_comes_first_and_then_everything_moves(pretrained, tmp_path):
    probe, _, _ = fitted(tmp_path, backbone=pretrained, mode="probe")

    class Look(pl.Callback):
        def on_train_batch_start(self, trainer, module, *_):
            if trainer.global_step == 0:
                self.head = copy.deepcopy(module.head.state_dict())

    look = Look()
    module, before, _ = fitted(tmp_path, backbone=pretrained, mode="lp_ft", trainer={"callbacks": [look]})
    torch.testing.assert_close(look.head, dict(probe.head.state_dict()))
    assert {f"encoder.{n}" for n, _ in module.encoder.named_parameters()} <= changed(module, before)
    assert "head.weight" in changed(module, before)


def test_stages_are_set_free_from_the_top(pretrained, tmp_path):
    seen = []

    class Look(pl.Callback):
        def on_train_epoch_start(self, trainer, module):
            self.before = {k: v.clone() for k, v in module.encoder.state_dict().items()}

        def on_train_epoch_end(self, trainer, module):
            moved = [k for k, v in module.encoder.state_dict().items() if not torch.equal(v, self.before[k])]
            seen.append({int(k.split(".")[1]) for k in moved})

    options = {
        "backbone": pretrained,
        "mode": "gradual",
        "unfreeze_every": 2,
        "schedule": "constant",
        "weight_decay": 1.0,
    }
    module, _, _ = fitted(tmp_path, epochs=6, trainer={"callbacks": [Look()]}, **options)
    assert len(module.encoder.trunk) == 3  # two stages, and what flattens
    assert seen == [set(), set(), {1}, {1}, {0, 1}, {0, 1}]


def test_earlier_stages_have_lower_rates(pretrained, tmp_path):
    _, _, fit = fitted(tmp_path, backbone=pretrained, layer_decay=0.5, lr=8e-3, schedule="constant")
    rates = [group["lr"] for group in fit.optimizers[0].param_groups]
    assert rates == [8e-3] * 2 + [4e-3] * 2 + [2e-3] * 2
    decays = [group["weight_decay"] for group in fit.optimizers[0].param_groups]
    assert decays == [0.01, 0.0] * 3


def test_the_tie_to_the_start(pretrained, tmp_path):
    module, before, _ = fitted(tmp_path, backbone=pretrained, l2_sp=0.3, epochs=3)
    batch = {"input": torch.rand(4, *SHAPE), "label": torch.tensor([1, 2, 3, -1])}
    plain = F.cross_entropy(module.eval()(batch["input"][:3]), batch["label"][:3])
    weights = [n for n, _ in module.encoder.named_parameters()]
    distance = sum(
        (module.encoder.get_parameter(n) - before[f"encoder.{n}"]).double().square().sum() for n in weights
    ).item()
    assert distance > 0
    assert module.loss(batch)[0].item() == pytest.approx(plain.item() + 0.15 * distance, rel=1e-5)
    near, _, _ = fitted(tmp_path, backbone=pretrained, l2_sp=100.0, epochs=3)
    moved = sum((near.encoder.get_parameter(n) - before[f"encoder.{n}"]).square().sum() for n in weights).item()
    assert moved < distance / 4


def test_what_is_tested_lies_between_start_and_end(pretrained, tmp_path):
    whole, _, _ = fitted(tmp_path, backbone=pretrained, epochs=3)
    probe, _, _ = fitted(tmp_path, backbone=pretrained, mode="probe")
    module, _, fit = fitted(tmp_path, backbone=pretrained, epochs=3, wise_ft=0.25)
    fit.save_checkpoint(tmp_path / "a.ckpt")
    expected = {k: v.lerp(whole.state_dict()[k], 0.25) for k, v in probe.state_dict().items() if "weight" in k}
    for _ in range(2):  # once only
        fit.test(module, digits(), verbose=False)
        for name in ("encoder.trunk.0.0.weight", "head.weight"):
            torch.testing.assert_close(module.state_dict()[name], expected[name])
    exported = load_encoder(tmp_path / "a.ckpt").state_dict()["trunk.0.0.weight"]
    torch.testing.assert_close(exported, expected["encoder.trunk.0.0.weight"])
    loaded = FinetuneModule.load_from_checkpoint(tmp_path / "a.ckpt")
    quiet_trainer(tmp_path).test(loaded, digits(), verbose=False)
    torch.testing.assert_close(loaded.state_dict()["head.weight"], expected["head.weight"])


def test_changes_of_low_rank_are_merged_when_exported(pretrained, tmp_path):
    module, _, fit = fitted(tmp_path, backbone=pretrained, lora_rank=2, epochs=3)
    x = torch.rand(5, *SHAPE)
    save_encoder(module.encoder, tmp_path / "out")
    fit.save_checkpoint(tmp_path / "a.ckpt")
    for path in (tmp_path / "out", tmp_path / "a.ckpt"):
        torch.testing.assert_close(load_encoder(path)(x), module.eval().encode(x))
    assert not torch.equal(load_encoder(tmp_path / "out").trunk(x), load_encoder(pretrained).trunk(x))


def test_loads_without_the_backbones_file(pretrained, tmp_path):
    save_encoder(load_encoder(pretrained), tmp_path / "gone")
    module, _, fit = fitted(tmp_path, backbone=str(tmp_path / "gone"))
    fit.save_checkpoint(tmp_path / "a.ckpt")
    for file in (tmp_path / "gone").iterdir():
        file.unlink()
    loaded = FinetuneModule.load_from_checkpoint(tmp_path / "a.ckpt").eval()
    x = torch.rand(5, *SHAPE)
    assert torch.equal(loaded(x), module.eval()(x)) and loaded.origin == str(tmp_path / "gone")


def test_resumes_with_the_probe_behind_it(pretrained, tmp_path):
    class Save(pl.Callback):
        def on_train_batch_end(self, trainer, *_):
            if trainer.global_step == 6:
                trainer.save_checkpoint(tmp_path / "middle.ckpt")

    whole, _, _ = fitted(
        tmp_path, backbone=pretrained, epochs=3, trainer={"callbacks": [Save()]}, class_weights="balanced"
    )
    module = FinetuneModule(SHAPE, 10, backbone=pretrained, class_weights="balanced")
    fit = quiet_trainer(tmp_path, max_epochs=3)
    fit.fit(module, digits(), ckpt_path=tmp_path / "middle.ckpt", weights_only=True)
    assert fit.global_step == 12 and not changed(whole, module.state_dict())


def test_unlabelled_samples_change_nothing(pretrained, tmp_path):
    # At the default penalty the optimum is so flat that rounding decides where in it the probe ends.
    options = {"backbone": pretrained, "mode": "probe", "class_weights": "balanced", "probe_l2": 5.0}
    module, _, _ = fitted(tmp_path, **options)
    with_rest, _, _ = fitted(tmp_path, digits(labelled_only=False, batch_size=128), **options)
    torch.testing.assert_close(with_rest.head.weight, module.head.weight, rtol=0.02, atol=2e-3)
    batch = {"input": torch.rand(4, *SHAPE), "label": torch.tensor([1, -1, 3, -1])}
    labelled = {key: value[[0, 2]] for key, value in batch.items()}
    torch.testing.assert_close(module.eval().loss(batch), module.loss(labelled))


TWO = """
from pathlib import Path
from test_finetune import fitted
module, _, fit = fitted(Path({folder!r}), backbone={backbone!r}, mode={mode!r}, class_weights="balanced",
    schedule="constant", probe_l2=5.0, trainer={{"devices": 2, "strategy": "ddp"}})
fit.save_checkpoint({folder!r} + "/two.ckpt")
"""


@pytest.mark.long
@pytest.mark.parametrize("mode", ["probe", "gradual"])
def test_two_processes_do_what_one_does(two_processes, mode, pretrained, tmp_path):
    """Features and labels of both are gathered; frozen stages do not keep DDP waiting."""
    two_processes(TWO, backbone=pretrained, mode=mode)
    two = torch.load(tmp_path / "two.ckpt", weights_only=True)["state_dict"]
    options = {"backbone": pretrained, "mode": mode, "class_weights": "balanced", "schedule": "constant"}
    options["probe_l2"] = 5.0  # the optimum is flat at the default
    one, _, _ = fitted(tmp_path, digits(batch_size=50), **options)
    assert two.keys() == one.state_dict().keys()
    for name, value in one.state_dict().items():
        torch.testing.assert_close(two[name], value, rtol=1e-2, atol=1e-3, msg=lambda m, n=name: n + m)


def test_data_left_as_they_are_get_the_backbones_normalisation(pretrained, tmp_path):
    saved = save_encoder(Encoder("conv", SHAPE, 5, {"mean": [0.5], "std": [0.25]}), tmp_path / "saved")
    x = torch.rand(4, *SHAPE)
    raw, done = (
        FinetuneModule(SHAPE, 10, backbone=str(saved), normalisation=n) for n in (None, {"mean": [0.5], "std": [0.25]})
    )
    torch.testing.assert_close(raw.encode(x), done.encode((x - 0.5) / 0.25))
    assert raw.encoder.normalisation == {"mean": [0.5], "std": [0.25]}


# Other tasks


def loaders(x, y):
    return DataLoader(TensorDataset(x, y), 32), DataLoader(TensorDataset(x, y), 50)


def test_regression_in_the_targets_units(tmp_path):
    x = torch.randn(200, 5, generator=torch.Generator().manual_seed(0))
    y = torch.stack([300 + 40 * x[:, 0] + x[:, 1] ** 2, 1e-3 * x.sum(1)], 1)
    for mode, least in (("full", 0.9), ("probe", 0.4)):
        pl.seed_everything(0, verbose=False)
        module = FinetuneModule((5,), 2, task="regression", mode=mode, backbone="mlp", lr=3e-3)
        module.origin, module.probe_fitted = "here", torch.tensor(mode != "probe")  # probed as a trained one would be
        fit = quiet_trainer(tmp_path, max_epochs=30)
        fit.fit(module, *loaders(x, y))
        predicted = torch.cat(quiet_trainer(tmp_path).predict(module, loaders(x, y)[1]))
        expected = r2_score(y, predicted)
        assert fit.callback_metrics["val/score"].item() == pytest.approx(expected, rel=1e-3) and expected > least
        error = (predicted - y).abs().mean().item()
        assert fit.callback_metrics["val/mae"].item() == pytest.approx(error, rel=1e-3)
        torch.testing.assert_close(module.target_mean, y.mean(0))


def test_several_labels_a_sample(tmp_path):
    x = torch.randn(300, 5, generator=torch.Generator().manual_seed(0))
    y = torch.stack([x[:, 0] > 0, x[:, 1] > 1, x[:, 2] + x[:, 3] > 0], 1).float()
    y[::10] = float("nan")
    pl.seed_everything(0, verbose=False)
    module = FinetuneModule((5,), 3, task="multilabel", backbone="mlp", class_weights="balanced")
    fit = quiet_trainer(tmp_path, max_epochs=20)
    fit.fit(module, *loaders(x, y))
    chosen = ~y.isnan().any(1)
    predicted = torch.cat(quiet_trainer(tmp_path).predict(module, loaders(x, y)[1]))[chosen]
    expected = average_precision_score(y[chosen], predicted)
    assert fit.callback_metrics["val/score"].item() == pytest.approx(expected, abs=1e-4) and expected > 0.95
    f1 = f1_score(y[chosen], predicted > 0.5, average="macro")
    assert fit.callback_metrics["val/f1"].item() == pytest.approx(f1, abs=1e-4)
    positive = y[chosen].mean(0)
    torch.testing.assert_close(module.class_weight, (1 - positive) / positive)


def test_mixed_samples_are_learned_from(tmp_path):
    _, _, fit = fitted(tmp_path, mixup=0.5, label_smoothing=0.1, epochs=30)
    assert fit.callback_metrics["val/score"] > 0.8
    assert np.isfinite(fit.callback_metrics["train/loss"].item())


# Classes of other data


def saved_head(folder, names):
    pl.seed_everything(0, verbose=False)
    module = FinetuneModule(SHAPE, len(names), names, backbone={"name": "conv", "width": 8})
    fit = quiet_trainer(folder)
    fit.strategy.connect(module)
    fit.save_checkpoint(folder / "a.ckpt")
    return module.eval(), folder / "a.ckpt"


def test_data_without_labels_are_predicted(tmp_path):
    module, path = saved_head(tmp_path, ["cat", "dog", "owl"])
    x = torch.rand(6, *SHAPE)
    other = FinetuneModule(SHAPE, backbone={"name": "conv", "width": 8})  # what the data say: nothing of classes
    found = quiet_trainer(tmp_path).predict(other, DataLoader(x, 3), ckpt_path=path, weights_only=True)
    torch.testing.assert_close(torch.cat(found), module.classify(x))
    assert other.hparams.class_names == ["cat", "dog", "owl"] and other.hparams.num_classes == 3


def test_classes_go_by_their_names(tmp_path):
    module, path = saved_head(tmp_path, ["cat", "dog", "owl"])
    x = torch.rand(40, *SHAPE)
    said = module(x).argmax(1)
    chosen = said != 1
    data = DataLoader(TensorDataset(x[chosen], (said[chosen] == 0).long()), 7)  # 0 is owl and 1 is cat
    other = FinetuneModule(SHAPE, 2, ["owl", "cat"], backbone={"name": "conv", "width": 8})
    found = quiet_trainer(tmp_path).test(other, data, ckpt_path=path, verbose=False, weights_only=True)
    assert found[0]["test/score"] == 1


def test_columns_of_labels_go_by_their_names(tmp_path):
    pl.seed_everything(0, verbose=False)
    module = FinetuneModule((5,), 3, ["a", "b", "c"], "multilabel", "mlp")
    module._restore_label_space({"class_names": ["a", "b", "c"], "num_classes": 3, "task": "multilabel"})
    other = FinetuneModule((5,), 2, ["c", "a"], "multilabel", "mlp")
    other._restore_label_space(module.hparams)
    labels = torch.tensor([[1.0, 0], [0, 1], [float("nan")] * 2])
    assert torch.equal(other.to_head_labels(labels)[:2], torch.tensor([[0.0, 0, 1], [1, 0, 0]]))
    assert other.to_head_labels(labels)[2].isnan().any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_classes": 2, "class_names": ["emu", "cat"]}, "lacks: emu; it has cat, dog, owl"),
        ({"num_classes": 3, "task": "multilabel"}, "task is classification, the data's is multilabel"),
    ],
)
def test_classes_that_the_head_does_not_know_are_named(options, message, tmp_path):
    _, path = saved_head(tmp_path, ["cat", "dog", "owl"])
    other = FinetuneModule(SHAPE, **options)
    with pytest.raises(ValueError, match=message):
        quiet_trainer(tmp_path).test(other, digits(), ckpt_path=path, weights_only=True)


def test_mistakes_are_named(tmp_path):
    for name, value in {"lr": 0, "layer_decay": 1.5, "wise_ft": 2, "unfreeze_every": 0, "mixup": -1}.items():
        with pytest.raises(ValueError, match=name):
            FinetuneModule(SHAPE, 10, **{name: value})
    with pytest.raises(ValueError, match="`class_weights` has 2 values for 10 classes"):
        FinetuneModule(SHAPE, 10, class_weights=[1.0, 2.0])
    with pytest.raises(ValueError, match="set one of the two"):
        FinetuneModule(SHAPE, 10, lora_rank=2, wise_ft=0.5)
    with pytest.raises(ValueError, match="no labels"):
        quiet_trainer(tmp_path).fit(FinetuneModule(SHAPE), DataLoader(torch.rand(4, *SHAPE)))
    module = FinetuneModule(SHAPE, 10, class_weights="balanced")
    with pytest.raises(ValueError, match="no training sample has a label"):
        quiet_trainer(tmp_path).fit(module, DataLoader(TensorDataset(torch.rand(4, *SHAPE), torch.full((4,), -1))))

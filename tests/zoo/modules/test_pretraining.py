"""Fine-tuning that names no backbone pretrains one, and is compared with a network from scratch."""

import lightning.pytorch as pl
import pytest
import torch
from conftest import quiet_trainer
from torch.utils.data import DataLoader, TensorDataset

from callbacks.predictions.baseline_comparison import BaselineComparison
from datamodules.images import Digits
from datamodules.tabular import Vectors
from zoo import FinetuneModule, SOMModule, save_encoder
from zoo.core.findings import answer_of
from zoo.modules.pretraining import ORIGIN

SHAPE = (1, 8, 8)


def digits(**options):
    return Digits(**{"labels_per_class": 5, "labelled_only": True, **options})


def fitted(folder, data=None, callbacks=(), epochs=2, **options):
    pl.seed_everything(0, verbose=False)
    data = data or digits()
    given = {"pretrain_epochs": 3, "task": data.task, "normalisation": data.normalisation, **options}
    module = FinetuneModule(data.input_shape, data.num_classes, list(data.class_names), **given)
    fit = quiet_trainer(folder, max_epochs=epochs, callbacks=list(callbacks), log_every_n_steps=1000)
    fit.fit(module, data)
    return module, fit, data


class Seen(pl.Callback):
    """The encoder as the first step finds it."""

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        if not trainer.global_step:
            self.state = {k: v.clone() for k, v in module.encoder.state_dict().items()}
            self.batch = len(batch["input"])


def test_a_map_of_all_training_images_is_the_backbone(tmp_path, caplog):
    seen = Seen()
    module, _, _ = fitted(tmp_path, callbacks=[seen])
    pl.seed_everything(0, verbose=False)
    alone = SOMModule(SHAPE, rows=12, columns=12, encoding="activation")
    quiet_trainer(tmp_path, max_epochs=3, limit_val_batches=0).fit(alone, Digits())
    assert seen.batch == 50 and seen.state["trunk.weight"].shape == (144, 64)
    for name, value in alone.encoder.state_dict().items():
        torch.testing.assert_close(seen.state[name], value)
    assert "no backbone is named" in caplog.text and "`pretraining` none leaves it out" in caplog.text
    assert module.hparams.backbone["origin"] == ORIGIN and module.probe_fitted


def test_the_checkpoint_needs_no_pretraining(tmp_path, caplog):
    module, fit, data = fitted(tmp_path)
    fit.save_checkpoint(tmp_path / "a.ckpt")
    caplog.clear()
    loaded, x = FinetuneModule.load_from_checkpoint(tmp_path / "a.ckpt").eval(), torch.rand(4, *SHAPE)
    assert torch.equal(loaded(x), module.eval()(x)) and loaded.hparams == module.hparams
    again = FinetuneModule(SHAPE, 10, list(data.class_names), pretrain_epochs=3)
    on = quiet_trainer(tmp_path, max_epochs=3)
    on.fit(again, digits(), ckpt_path=tmp_path / "a.ckpt", weights_only=True)
    assert on.global_step == 3 and "is trained first" not in caplog.text


@pytest.mark.parametrize("options", [{}, {"lora_rank": 2}, {"l2_sp": 0.1, "wise_ft": 0.5}, {"mode": "probe"}])
def test_a_denoising_autoencoder_is_the_other_way(options, tmp_path):
    seen = Seen()
    start = fitted(tmp_path / "plain", pretraining="none")[0].encoder.state_dict()
    module, _, _ = fitted(tmp_path, callbacks=[seen], pretraining="denoising", **options)
    name = next(name for name in seen.state if name.endswith(("0.0.weight", "0.0.parametrizations.weight.original")))
    assert seen.state[name].shape == start["trunk.0.0.weight"].shape
    again = Seen()
    fitted(tmp_path, callbacks=[again], pretraining="denoising", **options)
    assert torch.equal(seen.state[name], again.state[name])  # by the seed
    if module.start is not None:
        kept = module.start["encoder"].state_dict()
        assert all(torch.equal(value, kept[key]) for key, value in seen.state.items())


def test_size_decides_between_the_two():
    assert FinetuneModule(SHAPE, 2).encoder.spec["name"] == "prototypes"
    assert FinetuneModule((5,), 2).encoder.spec["name"] == "prototypes"
    assert FinetuneModule((1, 28, 28), 2).encoder.spec == "conv" and FinetuneModule((300,), 2).encoder.spec == "mlp"
    assert FinetuneModule(SHAPE, 2, pretraining="none").encoder.spec == "conv"
    assert not FinetuneModule(SHAPE, 2, backbone="conv").origin
    with pytest.raises(ValueError, match="pretraining"):
        FinetuneModule(SHAPE, 2, pretraining="magic")


def test_any_loader_and_a_table_do(tmp_path):
    data = digits(labels_per_class=None, labelled_only=False)
    data.setup()
    images, labels = data.splits["train"]
    module = FinetuneModule(SHAPE, 10, pretrain_epochs=2)
    quiet_trainer(tmp_path).fit(module, DataLoader(TensorDataset(images[:200] / 255, labels[:200]), batch_size=50))
    assert module.encoder.trunk.weight.std() > 0.2
    table = Vectors("wine", labels_per_class=4, labelled_only=True)
    comparison = BaselineComparison()
    module, fit, _ = fitted(tmp_path, table, [comparison], epochs=10)
    fit.test(module, table, verbose=False)
    assert comparison.findings(fit, module)[0].references[0].title == "mlp from scratch"


def test_every_sample_is_seen_whatever_has_a_label():
    for data in (digits(), Vectors("wine", labels_per_class=4, labelled_only=True)):
        whole = data.all_samples()
        for each in (data, whole):
            each.prepare_data()
            each.setup("fit")
        few, all_of_them = (sum(len(batch["input"]) for batch in each.train_dataloader()) for each in (data, whole))
        assert few < 60 < all_of_them and data.labelled_only
        assert whole.all_samples() is whole


# What it is compared with ------------------------------------------------------------------------------------------


def test_the_network_from_scratch_is_what_a_run_of_its_own_gives(tmp_path):
    comparison = BaselineComparison()
    module, fit, data = fitted(tmp_path, callbacks=[comparison], epochs=4, lr=2e-3)
    torch.manual_seed(module._seed)
    alone = FinetuneModule(SHAPE, 10, list(data.class_names), backbone="conv", mode="full", lr=2e-3)
    quiet_trainer(tmp_path, max_epochs=4, limit_val_batches=0).fit(alone, digits())
    for name, value in alone.state_dict().items():
        torch.testing.assert_close(comparison._baseline.state_dict()[name], value)
    found = fit.test(module, data, verbose=False)[0]
    expected = quiet_trainer(tmp_path).test(alone, data, verbose=False)[0]
    assert found["test/baseline_score"] == pytest.approx(expected["test/score"])
    (finding,) = comparison.findings(fit, module)
    assert finding.value == pytest.approx(found["test/score"]) and finding.samples == 359
    assert finding.references[0].title == "conv from scratch" and finding.references[0].baseline
    assert answer_of(module.headline, [finding], "images").question == "Did pretraining pay?"


def test_it_has_the_same_network_where_that_can_learn_from_scratch(tmp_path):
    torch.manual_seed(5)
    donor = FinetuneModule(SHAPE, 10, backbone={"name": "conv", "width": 8})
    folder = str(save_encoder(donor.encoder, tmp_path / "encoder"))
    torch.manual_seed(6)
    module = FinetuneModule(SHAPE, 10, backbone=folder, lora_rank=2, layer_decay=0.5)
    other = module.baseline()
    assert other.encoder.spec == {"name": "conv", "width": 8} and not other.origin and other.hparams.mode == "full"
    assert all(p.requires_grad for p in other.parameters()) and other.contestants == (
        "pretrained",
        "the same network from scratch",
    )
    assert not torch.equal(other.encoder.trunk[0][0].weight, donor.encoder.trunk[0][0].weight)
    assert donor.baseline() is None and FinetuneModule(SHAPE, 10, backbone=donor.encoder.trunk).baseline() is None


def test_a_probe_takes_no_steps_but_its_baseline_does(tmp_path):
    comparison = BaselineComparison()
    module, fit, _ = fitted(tmp_path, callbacks=[comparison], epochs=30, mode="probe")
    assert fit.global_step == 1
    trained = comparison._baseline
    fresh = module.baseline()
    assert (trained.encoder.trunk[0][0].weight - fresh.encoder.trunk[0][0].weight).abs().mean() > 5e-3


def test_it_is_left_out_where_it_is_not_wanted_or_training_goes_on(tmp_path):
    comparison = BaselineComparison()
    module, fit, data = fitted(tmp_path, callbacks=[comparison], train_baseline=False)
    found = fit.test(module, data, verbose=False)[0]
    assert "test/baseline_score" not in found and not comparison.findings(fit, module)
    fit.save_checkpoint(tmp_path / "a.ckpt")
    again, comparison = FinetuneModule(SHAPE, 10, list(data.class_names)), BaselineComparison()
    on = quiet_trainer(tmp_path, max_epochs=3, callbacks=[comparison])
    on.fit(again, digits(), ckpt_path=tmp_path / "a.ckpt", weights_only=True)
    assert comparison._baseline is None


def test_pretraining_leaves_the_training_around_it_alone(tmp_path):
    """The probe is fitted to the pretrained features, and what is learned does not depend on who else learned."""
    module, _, _ = fitted(tmp_path, callbacks=[BaselineComparison()], epochs=1)
    other, _, _ = fitted(tmp_path, epochs=1, train_baseline=False)
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in module.state_dict().items())

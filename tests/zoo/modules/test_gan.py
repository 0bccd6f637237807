from functools import partialmethod

import lightning.pytorch as pl
import pytest
import torch
from conftest import quiet_trainer
from torch.utils.data import DataLoader, TensorDataset

from datamodules.images import Digits
from zoo import GANModule

SHAPE = (1, 8, 8)
X = torch.rand(64, *SHAPE, generator=torch.Generator().manual_seed(0))


def gan(seed=0, **options):
    pl.seed_everything(seed, verbose=False)
    return GANModule(SHAPE, **options)


def loader(batch_size=32, x=X):
    return DataLoader(TensorDataset(x), batch_size=batch_size)


class NoiseFromPictures(GANModule):
    """Each fake belongs to its real picture, so that a batch in two halves has the same fakes."""

    def loss(self, batch):
        self._pictures = batch["input"]
        return super().loss(batch)

    def _noise(self, count):
        return self._pictures.flatten(1)[:, :32] * 4 - 2


def weights(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def test_max_steps_are_batches(tmp_path):
    seen = []

    class Count(pl.Callback):
        def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
            seen.append(batch_idx)

    fit = quiet_trainer(tmp_path, max_epochs=-1, max_steps=20, callbacks=[Count()])
    fit.fit(gan(), loader(8))
    assert len(seen) == 20 and fit.global_step == 20


@pytest.mark.parametrize("objective", ["non_saturating", "hinge", "relativistic"])
def test_two_halves_are_one_batch(tmp_path, objective):
    """Without batch statistics, a gradient summed over two batches of 32 is that of one of 64."""
    options = {"objective": objective, "latent_dim": 32, "generator": {"name": "dcgan", "norm": "group"}}
    results = []
    for size, parts in ((64, 1), (32, 2)):
        pl.seed_everything(0, verbose=False)
        module = NoiseFromPictures(SHAPE, penalty_every=1, **options)
        fit = quiet_trainer(tmp_path, max_epochs=1, accumulate_grad_batches=parts)
        grads = {}
        module.on_before_optimizer_step = lambda _, m=module, g=grads: g.update(
            {n: p.grad.clone() for n, p in m.named_parameters() if p.grad is not None}
        )
        fit.fit(module, loader(size))
        assert fit.global_step == 1
        results.append(grads)
    assert len(results[0]) > 10
    largest = max(grad.abs().max().item() for grad in results[0].values())  # a pair's logits share the bias: 0 is exact
    for name, grad in results[0].items():
        torch.testing.assert_close(results[1][name], grad, rtol=1e-5, atol=1e-5 * largest, msg=name)


TWO_PROCESSES = """
from test_gan import one_step
one_step({folder!r}, 32, devices=2, strategy="ddp").save_checkpoint({folder!r} + "/two.ckpt")
"""


def one_step(folder, batch_size, **options):
    pl.seed_everything(0, verbose=False)
    module = NoiseFromPictures(SHAPE, latent_dim=32, generator={"name": "dcgan", "norm": "group"}, penalty_every=1)
    fit = quiet_trainer(folder, **options)
    fit.fit(module, loader(batch_size))
    return fit


@pytest.mark.long
def test_two_processes_take_one_process_step(two_processes, tmp_path):
    """Adam's first step is the gradient's sign, so what is compared is what Adam remembers: the gradients' mean."""
    two_processes(TWO_PROCESSES)
    two = torch.load(tmp_path / "two.ckpt", weights_only=True)["optimizer_states"][0]["state"]
    one = one_step(tmp_path, 64).optimizers[0].state_dict()["state"]
    largest = max(state["exp_avg"].abs().max().item() for state in one.values())
    assert one.keys() == two.keys() and len(one) > 10
    for key, state in one.items():
        torch.testing.assert_close(two[key]["exp_avg"], state["exp_avg"], rtol=1e-5, atol=1e-5 * largest)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_each_network_is_clipped_by_itself(tmp_path, precision):
    norms = {}
    module = gan()
    clip = module.configure_gradient_clipping

    def watch(optimizer, *args, **kwargs):
        clip(optimizer, *args, **kwargs)
        for name, group in zip(("critic", "generator"), optimizer.param_groups, strict=True):
            grads = [p.grad.flatten() for p in group["params"]]
            norms.setdefault(name, []).append(torch.cat(grads).norm().item())

    module.configure_gradient_clipping = watch
    fit = quiet_trainer(tmp_path, max_epochs=2, precision=precision, gradient_clip_val=1e-3)
    fit.fit(module, loader())
    assert norms["critic"] == pytest.approx([1e-3] * 4, rel=1e-3)
    assert norms["generator"] == pytest.approx([1e-3] * 4, rel=1e-3)


def test_the_generator_moves_at_every_third_step(tmp_path):
    module = gan(critic_steps=3)
    moves = []

    class Watch(pl.Callback):
        def on_train_batch_start(self, *_):
            self.before = weights(module)

        def on_train_batch_end(self, *_):
            changed = {n.split(".")[0] for n, p in module.named_parameters() if not torch.equal(p, self.before[n])}
            moves.append(sorted(changed))

    quiet_trainer(tmp_path, max_epochs=3, callbacks=[Watch()]).fit(module, loader())
    critic, both = ["encoder", "head"], ["encoder", "generator", "generator_ema", "head"]
    assert moves == [critic, critic, both, critic, critic, both]


def test_the_average_is_the_generators_at_first_and_follows(tmp_path):
    module = gan(ema=0.9)
    start = weights(module.generator)
    quiet_trainer(tmp_path, max_epochs=1).fit(module, loader(64))
    decay = 1 / 10  # at the first step
    for name, parameter in module.generator.named_parameters():
        expected = decay * start[name] + (1 - decay) * parameter
        torch.testing.assert_close(module.generator_ema.get_parameter(name), expected)
    z = torch.randn(4, 64)
    torch.testing.assert_close(module.generate(z), module.generator_ema.eval()(z))


def test_two_rates(tmp_path):
    module = gan(lr=1e-3, critic_lr=4e-3)
    fit = quiet_trainer(tmp_path)
    fit.fit(module, loader())
    critic, generator = fit.optimizers[0].param_groups
    assert critic["lr"] == 4e-3 and generator["lr"] == 1e-3
    assert not any(p is q for p in critic["params"] for q in generator["params"])


@pytest.mark.long
def test_a_simple_distribution_is_learned():
    """Pictures all black but for one bright column of eight: the generator finds where columns are."""
    columns = torch.randint(8, (256,), generator=torch.Generator().manual_seed(0))
    x = torch.zeros(256, 1, 8, 8)
    x[torch.arange(256), 0, :, columns] = 1
    module = gan(latent_dim=16, ema=0.9, lr=2e-3)
    quiet_trainer(max_epochs=80).fit(module, loader(32, x))
    samples = module.sample(400)
    chosen = samples.mean((1, 2)).argmax(1)
    assert len(chosen.unique()) == 8  # no column is forgotten
    ideal = torch.zeros_like(samples)
    ideal[torch.arange(400), 0, :, chosen] = 1
    assert (samples - ideal).abs().mean() < 0.05


def test_conditional_samples_are_of_their_class():
    """Class 0 is bright above, class 1 below."""
    labels = torch.arange(512) % 2
    x = torch.zeros(512, 1, 8, 8)
    x[labels == 0, :, :4] = 1
    x[labels == 1, :, 4:] = 1
    small = {"name": "dcgan", "width": 16}
    module = gan(conditional=True, num_classes=2, latent_dim=16, ema=0.9, network=small)
    quiet_trainer(max_epochs=20).fit(module, DataLoader(TensorDataset(x, labels), batch_size=64))
    above = module.sample(64, torch.zeros(64, dtype=torch.long))
    below = module.sample(64, torch.ones(64, dtype=torch.long))
    assert above[:, :, :4].mean() > 0.9 > 0.1 > above[:, :, 4:].mean()
    assert below[:, :, 4:].mean() > 0.9 > 0.1 > below[:, :, :4].mean()


def test_what_evaluation_says():
    module = gan().eval()
    loss, logs = module.loss({"input": X})
    assert loss.item() == pytest.approx(2 * torch.tensor(2.0).log().item(), rel=0.1)  # nothing learned: chance
    assert 0 < logs["swd"] < 1


@pytest.mark.parametrize(
    "options",
    [
        {"objective": "wasserstein", "r1": 0.0, "wgan_gp": 10.0, "critic_steps": 2},
        {"objective": "relativistic", "r1": 1.0, "r2": 1.0, "network": "r3gan"},
        {"objective": "hinge", "r1": 0.0, "network": {"name": "gan_resnet", "spectral_norm": True}},
        {"augment": ["colour", "translation", "cutout"], "channels_last": True, "ema": 0.0},
        {"generator": "image", "prior": "uniform_01"},
    ],
)
def test_variants_train(tmp_path, options):
    module = gan(**options)
    before = weights(module)
    fit = quiet_trainer(tmp_path, max_epochs=2)
    fit.fit(module, loader(16), loader(16))
    assert fit.callback_metrics["val/swd"].isfinite()
    changed = {n.split(".")[0] for n, p in module.named_parameters() if not torch.equal(p, before[n])}
    assert changed >= {"encoder", "head", "generator"}
    assert module.sample(3).shape == (3, *SHAPE) and module.walk(2, 5).shape == (2, 5, *SHAPE)
    assert module.encode(X).shape == (64, module.encoder.feature_dim)


def test_mistakes_are_named():
    with pytest.raises(ValueError, match=r"objective must be one of .* got 'hing'"):
        gan(objective="hing")
    with pytest.raises(ValueError, match="needs classes"):
        gan(conditional=True)
    with pytest.raises(ValueError, match="unknown prior 'norml'"):
        gan(prior="norml")
    with pytest.raises(ValueError, match=r"takes noise of \(64,\); got \(3,\)"):
        gan().generate(torch.randn(2, 3))
    with pytest.raises(ValueError, match="label for every image"):
        gan(conditional=True, num_classes=2).loss({"input": X, "label": torch.full((64,), -1)})
    with pytest.raises(ValueError, match="GANModule needs 'label' in the batch"):
        gan(conditional=True, num_classes=2).loss({"input": X})
    with pytest.raises(ValueError, match="ema must be below 1"):
        gan(ema=1.0)


def test_a_loss_that_is_not_finite_stops_the_training(tmp_path):
    x = X.clone()
    x[5] = float("nan")
    with pytest.raises(ValueError, match="the loss became nan: try a lower `lr`"):
        quiet_trainer(tmp_path).fit(gan(), loader(32, x))


def test_one_picture(tmp_path):
    fit = quiet_trainer(tmp_path, max_epochs=2)
    fit.fit(gan(), loader(4, X[:1]), loader(4, X[:1]))
    assert fit.callback_metrics["train/loss"].isfinite()


@pytest.mark.parametrize(
    "backend", ["aot_eager", pytest.param("inductor", marks=[pytest.mark.long, pytest.mark.nightly])]
)
def test_compiled_networks_give_the_same(tmp_path, monkeypatch, backend):
    """All that is ours runs with either backend: the default one makes C++ of the same graphs, which takes long."""
    monkeypatch.setattr(torch.nn.Module, "compile", partialmethod(torch.nn.Module.compile, backend=backend))
    plain, compiled = gan().eval(), gan(compiled=True).eval()
    compiled.setup("fit")
    assert compiled.encoder._compiled_call_impl and compiled.generator._compiled_call_impl
    torch.testing.assert_close(compiled.encode(X), plain.encode(X), rtol=1e-4, atol=1e-5)
    assert weights(plain).keys() == weights(compiled).keys()
    data = Digits(batch_size=64)
    fit = quiet_trainer(tmp_path, limit_train_batches=2, limit_val_batches=1)
    fit.fit(compiled.train(), data)
    assert fit.callback_metrics["train/loss"].isfinite()

import lightning.pytorch as pl
import pytest
import torch
from conftest import quiet_trainer
from sklearn.decomposition import PCA
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from datamodules.images import Digits
from zoo import AutoencoderModule

SHAPE = (1, 8, 8)


def digits():
    data = Digits()
    data.setup()
    return data.splits["train"].images.float() / 255


def fit(module, x, epochs=5, batch_size=128):
    trainer = quiet_trainer(max_epochs=epochs)
    loader = DataLoader(TensorDataset(x), batch_size=batch_size, shuffle=True)
    trainer.fit(module, loader)
    return trainer


def mean_loss(module, x):
    with torch.no_grad():
        return module.eval().loss({"input": x})[0].item()


@pytest.mark.parametrize("variant", ["plain", "denoising", "contractive", "vae", "iwae"])
@pytest.mark.parametrize("likelihood, network", [("bernoulli", "conv"), ("gaussian", "mlp")])
def test_every_variant_learns(variant, likelihood, network):
    """With either likelihood and either network, which know nothing of each other."""
    pl.seed_everything(0, verbose=False)
    module = AutoencoderModule(SHAPE, variant=variant, likelihood=likelihood, network=network)
    x = digits()
    before = module.eval().reconstruct(x).sub(x).square().mean()
    fit(module.train(), x)
    after = module.eval().reconstruct(x).sub(x).square().mean()
    assert after < (0.7 if likelihood == "bernoulli" else 0.5) * before


def test_the_linear_autoencoder_finds_the_principal_subspace():
    """Baldi & Hornik 1989: with linear maps and squared error the optimum spans the leading components."""
    pl.seed_everything(0, verbose=False)
    x = digits()
    linear = {"name": "mlp", "widths": []}
    module = AutoencoderModule(SHAPE, variant="plain", network=linear, latent_dim=8, schedule="cosine", lr=3e-2)
    fit(module, x, epochs=60, batch_size=64)
    error = module.eval().reconstruct(x).sub(x).square().mean().item()
    flat = x.flatten(1).numpy()
    pca = PCA(8).fit(flat)
    best = ((pca.inverse_transform(pca.transform(flat)) - flat) ** 2).mean()
    assert best <= error * 1.0001 and error < 1.03 * best


def test_the_bound_is_divergence_plus_likelihood():
    module = AutoencoderModule(SHAPE, beta=3.0)
    loss, logs = module.loss({"input": torch.rand(4, *SHAPE)})
    torch.testing.assert_close(loss, logs["nll"] + 3 * logs["kl"])


def test_shapes():
    module = AutoencoderModule((3, 9, 11), latent_dim=5)
    x = torch.rand(4, 3, 9, 11)
    assert module.encode(x).shape == (4, 5)
    assert module.reconstruct(x).shape == module.reconstruct({"input": x}).shape == x.shape
    assert module.sample(7).shape == (7, 3, 9, 11)
    assert module.interpolate(x, x.flip(0), 6).shape == (4, 6, 3, 9, 11)


def test_interpolations_end_at_the_reconstructions():
    module = AutoencoderModule(SHAPE).eval()
    a, b = torch.rand(3, *SHAPE), torch.rand(3, *SHAPE)
    path = module.interpolate(a, b, 5)
    torch.testing.assert_close(path[:, 0], module.reconstruct(a))
    torch.testing.assert_close(path[:, -1], module.reconstruct(b))


def test_vectors_of_a_table():
    pl.seed_everything(0, verbose=False)
    module = AutoencoderModule((13,), network="mlp", latent_dim=3)
    x = torch.randn(256, 3) @ torch.randn(3, 13)
    before = mean_loss(module, x)
    fit(module.train(), x, epochs=10, batch_size=32)
    assert mean_loss(module, x) < before / 2


@pytest.mark.parametrize("extreme", [-1e6, 1e6])
def test_extreme_log_variances_stay_finite(extreme):
    module = AutoencoderModule(SHAPE, latent_dim=2)
    nn.init.constant_(module.log_variance.bias, extreme)
    loss, _ = module.loss({"input": torch.rand(4, *SHAPE)})
    loss.backward()
    assert loss.isfinite() and all(p.grad is None or p.grad.isfinite().all() for p in module.parameters())


@pytest.mark.parametrize("variant", ["plain", "denoising"])
def test_only_the_vae_has_a_prior(variant):
    with pytest.raises(ValueError, match=f"'{variant}' has no prior"):
        AutoencoderModule(SHAPE, variant=variant).sample(3)


@pytest.mark.parametrize(
    "options, x, says",
    [
        ({"likelihood": "bernoulli"}, torch.full((2, *SHAPE), 1.5), r"\[1.5, 1.5\].*normalise` unit"),
        ({"likelihood": "bernoulli"}, torch.full((2, *SHAPE), -0.5), r"\[-0.5, -0.5\]"),
        ({}, torch.rand(2, 3, 8, 8), r"\(1, 8, 8\).*\(3, 8, 8\)"),
    ],
)
def test_inputs_that_do_not_fit_are_explained(options, x, says):
    with pytest.raises(ValueError, match=says):
        AutoencoderModule(SHAPE, **options).loss({"input": x})


@pytest.mark.parametrize("name", ["latent_dim", "std", "lr"])
def test_impossible_options_are_named(name):
    with pytest.raises(ValueError, match=name):
        AutoencoderModule(SHAPE, **{name: 0})


@pytest.mark.parametrize("spoil", ["lr", "input"])
def test_a_diverging_run_stops_and_says_what_to_try(spoil):
    x = digits()[:256]
    if spoil == "input":
        x[5] = float("nan")
    module = AutoencoderModule(SHAPE, lr=1e12 if spoil == "lr" else 1e-3)
    with pytest.raises(ValueError, match="lower `lr`"):
        fit(module, x, epochs=3)


def test_a_module_as_network_must_be_given_again(tmp_path):
    trunk = nn.Sequential(nn.Flatten(), nn.Linear(64, 20))
    module = AutoencoderModule(SHAPE, network=trunk)
    fit(module, digits()[:64], epochs=1).save_checkpoint(tmp_path / "a.ckpt")
    with pytest.raises(ValueError, match="'network'"):
        AutoencoderModule.load_from_checkpoint(tmp_path / "a.ckpt")
    fresh = nn.Sequential(nn.Flatten(), nn.Linear(64, 20))
    loaded = AutoencoderModule.load_from_checkpoint(tmp_path / "a.ckpt", network=fresh)
    x = torch.rand(3, *SHAPE)
    assert torch.equal(loaded.encode(x), module.encode(x))


def linear_gaussian(seed=0):
    """A VAE whose p(x) = N(b, W W^T + s^2) is known, with a posterior that is not the true one."""
    pl.seed_everything(seed, verbose=False)
    module = AutoencoderModule((1, 2, 3), network={"name": "mlp", "widths": []}, latent_dim=2, std=0.5)
    layer = module.decoder.layers[-1]
    with torch.no_grad():
        module.log_variance.weight.zero_()
        module.log_variance.bias.fill_(0.4)  # wider than the true posterior: no weight is far above the others
    weight, bias = layer.weight.double(), layer.bias.double()
    return module.eval(), torch.distributions.MultivariateNormal(bias, weight @ weight.T + 0.25 * torch.eye(6).double())


def test_likelihood_by_importance_sampling_is_the_analytic_one():
    module, exact = linear_gaussian()
    x = torch.randn(50, 1, 2, 3, generator=torch.Generator().manual_seed(1)) * 0.7
    expected = exact.log_prob(x.flatten(1).double())
    estimate = module.log_likelihood(x, 20_000)
    assert estimate.dtype == torch.float64
    torch.testing.assert_close(estimate, expected, atol=0.06, rtol=0)
    assert abs((estimate - expected).mean()) < 0.01


def test_the_importance_bound_lies_between_the_evidence_bound_and_the_likelihood():
    vae, exact = linear_gaussian()
    iwae = AutoencoderModule(**{**vae.hparams, "variant": "iwae", "importance_samples": 20}).eval()
    iwae.load_state_dict(vae.state_dict())
    x = torch.randn(20_000, 1, 2, 3, generator=torch.Generator().manual_seed(1)) * 0.7
    likelihood = exact.log_prob(x.flatten(1).double()).mean().item()
    assert mean_loss(vae, x) - 0.05 > mean_loss(iwae, x) > -likelihood


def test_the_likelihood_is_logged_when_testing_and_refused_without_a_distribution():
    x = digits()[:100]
    module = AutoencoderModule(SHAPE, test_samples=10)
    trainer = quiet_trainer()
    trainer.test(module, DataLoader(TensorDataset(x), batch_size=50), verbose=False)
    assert trainer.callback_metrics["test/marginal_nll"] < trainer.callback_metrics["test/loss"]
    with pytest.raises(ValueError, match="no likelihood"):
        AutoencoderModule(SHAPE, variant="plain").log_likelihood(x)


@pytest.mark.parametrize("sparsity, penalty", [("l1", 3.0), ("kl", 20.0)])
def test_sparse_codes_are_sparse_and_rebuild(sparsity, penalty):
    x, active, error = digits(), {}, {}
    for weight in (0.0, penalty):
        pl.seed_everything(0, verbose=False)
        module = AutoencoderModule(SHAPE, variant="sparse", sparsity=sparsity, penalty=weight, std=0.1, latent_dim=64)
        fit(module, x, epochs=12)
        codes = module.eval().encode(x)
        active[weight] = (codes > 0.1 * codes.max()).float().mean().item()
        error[weight] = module.reconstruct(x).sub(x).square().mean().item()
        assert codes.min() >= 0
    assert active[penalty] < 0.8 * active[0.0]
    assert error[penalty] < 0.5 * x.var(0).mean()


def test_contraction_makes_codes_change_less():
    x, change = digits()[:640], {}
    for penalty in (0.0, 10.0):
        pl.seed_everything(0, verbose=False)
        module = AutoencoderModule(SHAPE, variant="contractive", penalty=penalty, network="mlp")
        fit(module, x, epochs=5)
        noise = 0.01 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
        change[penalty] = (module.eval().encode(x + noise) - module.encode(x)).norm().item()
    assert change[10.0] < 0.7 * change[0.0]


def test_the_learned_deviation_ends_at_the_error():
    pl.seed_everything(0, verbose=False)
    small = {"name": "conv", "width": 8}
    module = AutoencoderModule(SHAPE, variant="plain", network=small, learn_std=True, std=1.0, lr=1e-2)
    x = digits()[:640]
    fit(module, x, epochs=60)
    error = module.eval().reconstruct(x).sub(x).square().mean().sqrt().item()
    assert abs(module.log_std.exp().item() / error - 1) < 0.1


def test_a_cosine_resumes_in_the_middle_of_an_epoch(tmp_path):
    """The number of steps, asked while setting up, would set the loaders up before their position is restored."""

    class SaveAtTen(pl.Callback):
        def on_train_batch_end(self, trainer, *_):
            if trainer.global_step == 10:
                trainer.save_checkpoint(tmp_path / "middle.ckpt")

    def fit(callbacks=(), **options):
        pl.seed_everything(0, verbose=False)
        data = Digits(batch_size=64)
        module = AutoencoderModule(data.input_shape, schedule="cosine")
        quiet_trainer(tmp_path, callbacks=list(callbacks), max_epochs=2).fit(module, data, **options)
        return module.state_dict()

    whole = fit([SaveAtTen()])
    for name, value in fit(ckpt_path=tmp_path / "middle.ckpt", weights_only=True).items():
        assert torch.equal(value, whole[name]), name

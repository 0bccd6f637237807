import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from conftest import quiet_trainer as trainer
from sklearn.decomposition import PCA
from test_cli import one_line
from torch.utils.data import DataLoader

from datamodules.images import Digits
from datamodules.loader import ShardedSampler, TensorLoader
from zoo import PCAModule
from zoo.io.encoder import load_encoder, save_encoder

WANTED = [5, 12, 0.8, "mle"]


def table(rows=600, dim=12, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, dim, generator=generator) @ torch.randn(dim, dim, generator=generator) + 3


def fit(x, folder=None, batch_size=64, epochs=1, callbacks=(), **options):
    pl.seed_everything(0, verbose=False)
    module = PCAModule(x.shape[1:], **options)
    run = trainer(folder, max_epochs=epochs, callbacks=list(callbacks))
    run.fit(module, DataLoader(x, batch_size=batch_size))
    return module.eval()


def close(found, expected, tolerance):
    np.testing.assert_allclose(np.asarray(found), np.asarray(expected), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("wanted", WANTED)
@pytest.mark.parametrize("whiten", [False, True])
def test_everything_is_scikit_learns(wanted, whiten):
    x = table().double()
    reference = PCA(wanted, whiten=whiten, svd_solver="full").fit(x.numpy())
    module = fit(x, n_components=wanted, whiten=whiten)
    assert (module.n_components_, module.n_samples_) == (reference.n_components_, 600)
    for name in ("mean_", "components_", "explained_variance_", "explained_variance_ratio_", "singular_values_"):
        close(getattr(module, name), getattr(reference, name), 1e-8)
    assert module.noise_variance_.item() == pytest.approx(reference.noise_variance_, rel=1e-8)
    codes = reference.transform(x.numpy())
    close(module.encode(x), codes, 2e-4 if whiten else 1e-5)
    close(module.reconstruct(x), reference.inverse_transform(codes), 1e-4)
    plain = PCA(wanted, svd_solver="full").fit(x.numpy())  # a density is that of the data, whatever units codes have
    close(module.log_likelihood(x), plain.score_samples(x.numpy()), 1e-8)
    loss, logs = module.loss({"input": x})
    close(loss, ((plain.inverse_transform(plain.transform(x.numpy())) - x.numpy()) ** 2).mean(), 1e-6)
    close(logs["log_likelihood"], plain.score(x.numpy()), 1e-6)


def test_a_pass_that_is_cut_short_counts_and_leaves_nothing_for_another_fit():
    x = table()
    module = PCAModule((12,), n_components=3)
    trainer(None, max_epochs=-1, max_steps=2).fit(module, DataLoader(x, batch_size=64))
    assert module.n_samples_ == 128
    close(module.mean_, x[:128].double().mean(0), 1e-6)
    trainer(None, max_epochs=1).fit(module, DataLoader(x, batch_size=64))
    assert module.n_samples_ == 600
    close(module.mean_, x.double().mean(0), 1e-6)


@pytest.mark.parametrize("whiten", [False, True])
def test_to_scikit_learn_and_back(whiten):
    x = table()
    module = fit(x, n_components=4, whiten=whiten)
    pca = module.to_sklearn()
    close(module.encode(x), pca.transform(x.double().numpy()), 1e-5)
    close(module.decode(module.encode(x)), pca.inverse_transform(pca.transform(x.numpy())), 1e-4)
    assert pca.n_components_ == 4 and pca.n_samples_ == 600 and pca.get_feature_names_out()[3] == "pca3"
    with pytest.raises(ValueError, match="the module is not fitted: fit it first"):
        PCAModule((3,)).to_sklearn()


def test_the_size_of_batches_and_the_order_of_rows_change_nothing():
    x = torch.randint(0, 256, (3000, 1, 4, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    whole = fit(x, batch_size=3000, n_components=6)
    for other in (fit(x, batch_size=7, n_components=6), fit(x.flip(0), batch_size=640, n_components=6)):
        for name, value in whole.state_dict().items():
            assert torch.equal(value, other.state_dict()[name]), name
    reference = PCA(6, svd_solver="full").fit(x.flatten(1).numpy())
    close(whole.components_, reference.components_, 1e-9)


def test_a_huge_mean():
    x = table(2000).double() + 1e6
    reference = PCA(5, svd_solver="full").fit(x.numpy())
    for rows in (x, x.float()):
        module = fit(rows, n_components=5)
        tolerance = 1e-7 if rows.dtype == torch.float64 else 2e-3  # float32 has 1e6 to 0.03
        close(module.components_.abs(), np.abs(reference.components_), tolerance)
        close(module.encode(rows).abs(), np.abs(reference.transform(rows.double().numpy())), 100 * tolerance)


def test_every_epoch_begins_anew():
    x = table()
    once, twice = fit(x, n_components=3), fit(x, n_components=3, epochs=2)
    assert twice.n_samples_ == 600 and torch.equal(once.components_, twice.components_)


def test_a_fit_that_was_broken_off_leaves_nothing():
    class Stop(pl.Callback):
        def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
            if batch_idx == 3:
                raise RuntimeError("enough")

    x = table()
    module = PCAModule((12,), n_components=3)
    with pytest.raises(RuntimeError, match="enough"):
        trainer(callbacks=[Stop()]).fit(module, DataLoader(x, batch_size=64))
    trainer().fit(module, DataLoader(x, batch_size=64))
    assert module.n_samples_ == 600
    close(module.components_, PCA(3).fit(x.numpy()).components_, 1e-5)


@pytest.mark.parametrize("options", [{"max_steps": 3, "max_epochs": -1}, {"limit_train_batches": 3}])
def test_a_pass_that_is_cut_short_is_one_over_what_was_seen(options):
    x = table()
    module = PCAModule((12,), n_components=3)
    trainer(**options).fit(module, DataLoader(x, batch_size=64))
    assert module.n_samples_ == 192
    close(module.mean_, x[:192].double().mean(0), 1e-6)


def test_validation_sees_the_pass_that_has_just_ended():
    x = table()
    module = PCAModule((12,), n_components=3)
    run = trainer()
    run.fit(module, DataLoader(x, batch_size=64), DataLoader(x, batch_size=64))
    rebuilt = module.reconstruct(x)
    assert run.callback_metrics["val/loss"].item() == pytest.approx((rebuilt - x).square().mean().item(), rel=1e-4)


def test_before_the_pass_it_is_a_random_projection():
    module = PCAModule((1, 6, 5), n_components=7).eval()
    x = torch.rand(9, 1, 6, 5)
    axes = module.components_
    torch.testing.assert_close(axes @ axes.T, torch.eye(7).double(), atol=1e-6, rtol=0)
    close(module.encode(x), x.flatten(1).double() @ axes.T, 1e-5)
    normal = torch.distributions.Normal(0, 1).log_prob(x.double()).flatten(1).sum(1)
    close(module.log_likelihood(x), normal, 1e-6)
    assert module.n_samples_ == 0 and module.reconstruct(x).shape == module.sample(9).shape == x.shape


@pytest.mark.parametrize("wanted", [0.8, "mle", 3, None])
@pytest.mark.parametrize("whiten", [False, True])
def test_what_was_found_is_in_the_checkpoint(tmp_path, wanted, whiten):
    x = table()
    module = PCAModule((12,), n_components=wanted, whiten=whiten)
    run = trainer(tmp_path)
    run.fit(module, DataLoader(x, batch_size=64))
    run.save_checkpoint(tmp_path / "a.ckpt")
    loaded = PCAModule.load_from_checkpoint(tmp_path / "a.ckpt")
    assert loaded.n_components_ == module.n_components_ and loaded.n_samples_ == 600
    assert torch.equal(loaded.encode(x), module.encode(x)) and torch.equal(loaded.reconstruct(x), module.reconstruct(x))
    again = PCAModule((12,), n_components=wanted, whiten=whiten)
    again.load_state_dict(module.state_dict())
    assert torch.equal(again.log_likelihood(x), module.log_likelihood(x))
    assert "moments" not in torch.load(tmp_path / "a.ckpt", weights_only=True)  # of use only within an epoch
    save_encoder(module.encoder, tmp_path / "encoder")
    assert torch.equal(load_encoder(tmp_path / "encoder")(x), module.encode(x))


@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8])
@pytest.mark.parametrize("method", ["exact", "sketch"])
def test_resumed_in_the_middle_it_is_the_same_to_the_bit(tmp_path, dtype, method):
    class Save(pl.Callback):
        def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
            if batch_idx == 3:
                trainer.save_checkpoint(tmp_path / "middle.ckpt")

    def loader():
        x = (table() * 10).clamp(0, 255).to(dtype)
        return TensorLoader({"input": x}, 64, ShardedSampler(x, shuffle=True))

    whole = PCAModule((12,), n_components=4, method=method)
    trainer(tmp_path, callbacks=[Save()]).fit(whole, loader())
    resumed = PCAModule((12,), n_components=4, method=method)
    trainer(tmp_path).fit(resumed, loader(), ckpt_path=tmp_path / "middle.ckpt", weights_only=True)
    assert resumed.n_samples_ == 600
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_samples_have_the_gaussians_moments():
    module = fit(table(dim=6), n_components=2)
    torch.manual_seed(0)
    x = module.sample(200_000).double()
    close(x.mean(0), module.mean_, 0.05)
    expected = torch.from_numpy(module.to_sklearn().get_covariance())
    assert (torch.cov(x.T) - expected).abs().max() < 0.02 * expected.abs().max()


def test_constant_columns_are_no_harm():
    x = table()
    x[:, [2, 7]] = 5.0
    module = fit(x, n_components=12, whiten=True)
    codes = module.encode(x)
    assert (module.explained_variance_[10:] == 0).all() and (codes[:, 10:] == 0).all()
    close(codes[:, :10].std(0), np.ones(10), 1e-3)
    close(module.reconstruct(x), x, 1e-3)
    assert set(module.loss({"input": x})[1]) == set()  # flat in two directions: no density
    with pytest.raises(ValueError, match="keep fewer components"):
        module.log_likelihood(x)
    assert "log_likelihood" in fit(x, n_components=9).loss({"input": x})[1]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_a_sketch_of_wide_data_is_within_its_bound(dtype):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(400, 300, generator=generator) * 0.9 ** torch.arange(300) * 60 + 128
    x = x.clamp(0, 255).to(dtype)
    exact = fit(x, n_components=10, method="exact")
    sketch = fit(x, n_components=10, method="sketch")
    gap = exact.explained_variance_ - sketch.explained_variance_
    total = exact.spectrum_.sum()
    assert exact.error_bound_ == 0 < sketch.error_bound_ < 0.02 * total
    assert (gap > -1e-5 * total).all() and (gap < sketch.error_bound_ + 1e-5 * total).all()
    overlap = torch.linalg.svdvals(exact.components_[:5] @ sketch.components_.T)
    assert overlap.min() > 0.999 and sketch.n_samples_ == 400
    close(sketch.explained_variance_ratio_.sum(), exact.explained_variance_ratio_.sum(), 0.02)
    assert fit(x, n_components=0.5, method="sketch").n_components_ <= exact.n_components_


def test_wide_inputs_are_sketched_by_themselves():
    x = torch.randn(60, 3, 40, 40, generator=torch.Generator().manual_seed(0))
    module = fit(x, batch_size=20, n_components=3)
    assert module.spectrum_.shape == (67,) and module.encode(x).shape == (60, 3)
    assert PCAModule((1, 64, 64)).spectrum_.shape == (4096,)


DDP = """
import lightning.pytorch as pl
from conftest import quiet_trainer
from torch.utils.data import DataLoader
from test_pca import table
from zoo import PCAModule

class Save(pl.Callback):
    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        if batch_idx == 2:
            trainer.save_checkpoint({folder!r} + "/middle.ckpt")

x = table() * 10 + 100
x = x.clamp(0, 255).to(torch.uint8) if {bytes!r} else x
module = PCAModule((12,), n_components=0.9, method={method!r})
fit = quiet_trainer({folder!r}, devices=2, strategy="ddp", callbacks=[Save()])
fit.fit(module, DataLoader(x, batch_size=50), DataLoader(x, batch_size=50))
fit.save_checkpoint({folder!r} + "/end.ckpt")
"""


@pytest.mark.long
@pytest.mark.parametrize("bytes_, method", [(True, "exact"), (False, "exact"), (False, "sketch")])
def test_two_processes_give_what_one_gives(two_processes, tmp_path, bytes_, method):
    two_processes(DDP, bytes=bytes_, method=method)
    x = table() * 10 + 100
    x = x.clamp(0, 255).to(torch.uint8) if bytes_ else x
    one = fit(x, batch_size=50, n_components=0.9, method=method)
    two = torch.load(tmp_path / "end.ckpt", weights_only=True)["state_dict"]
    for name, value in one.state_dict().items():
        if bytes_:
            assert torch.equal(value, two[name]), name
        elif not name.startswith("encoder"):
            assert (value - two[name]).abs().max() <= 1e-6 * value.abs().max(), name
    middle = torch.load(tmp_path / "middle.ckpt", weights_only=True)["moments"]
    assert middle["rows"] == 300  # of both processes, three batches each


@pytest.mark.parametrize(
    "options, says",
    [
        ({"n_components": 0}, "1 to 12.*got 0"),
        ({"n_components": 13}, "1 to 12.*got 13"),
        ({"n_components": 1.0}, "between 0 and 1; got 1.0"),
        ({"n_components": "mlle"}, "'mlle'"),
        ({"n_components": True}, "got True"),
        ({"n_components": "mle", "method": "sketch"}, "'exact'"),
        ({"n_components": 5, "method": "sketch", "sketch_size": 5}, "sketch_size must be 6.*got 5"),
    ],
)
def test_impossible_options_are_named(options, says):
    with pytest.raises(ValueError, match=says):
        PCAModule((12,), **options)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("method", ["exact", "sketch"])
def test_what_is_not_finite_is_located(bad, method):
    x = table()
    x[64 * 2 + 5, 9] = bad
    with pytest.raises(ValueError, match="row 5, column 9 of training batch 2"):
        fit(x, method=method, n_components=3)


def test_the_first_bad_place_is_kept_until_it_is_asked_for(monkeypatch):
    """As on a GPU, which is not made to wait for an answer."""
    module, x = PCAModule((12,), n_components=3), table()
    x[70, 4] = x[300, 1] = float("nan")
    with monkeypatch.context() as patch:
        patch.setattr(module._finite, "check", lambda: None)
        for module._batch_idx, rows in enumerate(x.split(64)):
            module.loss({"input": rows})
    with pytest.raises(ValueError, match="row 6, column 4 of training batch 1"):
        module._end_pass()


def test_squares_that_overflow_are_said():
    with pytest.raises(ValueError, match="overflow"):
        fit(table() * 1e25, n_components=3)


@pytest.mark.parametrize(
    "x, options, says",
    [
        (table(1), {"n_components": 1}, "2 rows or more; there is only 1"),
        (table(4), {"n_components": 5}, "is 5, but there are only 4 rows"),
        (table(8), {"n_components": "mle"}, "8 and 12"),
        (table(), {"n_components": 0.99, "method": "sketch", "sketch_size": 3}, "raise sketch_size"),
    ],
)
def test_data_that_do_not_suffice(x, options, says):
    with pytest.raises(ValueError, match=says):
        fit(x, **options)


def test_inputs_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"\(12,\).*\(7,\)"):
        PCAModule((12,)).loss({"input": torch.zeros(3, 7)})


@pytest.mark.parametrize(
    "arguments, says",
    [
        (["--module.n_components=65"], "1 to 64"),
        (["--module.n_components=1.5"], "between 0 and 1"),
        (["--trainer.limit_train_batches=1", "--data.batch_size=8"], "is 16, but there are only 8 rows"),
    ],
)
def test_mistakes_end_in_one_line(train, arguments, says):
    assert says in one_line(train("--module", "pca", *arguments), 1)


def test_digits_whitened_by_fraction_from_the_command_line(train, tmp_path):
    done = train(
        "--module", "pca", "--module.n_components=0.9", "--module.whiten=true", "--trainer.limit_val_batches=0"
    )
    assert done.returncode == 0 and "variance kept 90." in done.stdout, done.stderr
    run = tmp_path / "runs/pca-digits/1"
    assert "test/log_likelihood" in (run / "metrics.csv").read_text()
    module = PCAModule.load_from_checkpoint(run / "checkpoints/best.ckpt")
    data = Digits()
    data.setup()
    x = data.splits["train"].images.float() / 255
    reference = PCA(0.9, whiten=True, svd_solver="full").fit(x.flatten(1).numpy())
    assert module.n_components_ == reference.n_components_
    close(module.encode(x), reference.transform(x.flatten(1).numpy()), 1e-4)
    assert torch.equal(load_encoder(run / "encoder")(x), module.encode(x))

import lightning.pytorch as pl
import pytest
import torch
from conftest import quiet_trainer
from torch.utils.data import DataLoader, TensorDataset

from datamodules.tabular import Vectors
from zoo import SOMModule, load_encoder, save_encoder
from zoo.functional.som import initial_units

X = torch.randn(300, 6, generator=torch.Generator().manual_seed(0)) * torch.tensor([4.0, 3, 1, 0.5, 0.2, 0.1])


def loader(x=X, batch_size=50):
    return DataLoader(TensorDataset(x), batch_size=batch_size)


def trained(x=X, batch_size=50, epochs=10, **options):
    pl.seed_everything(0, verbose=False)
    module = SOMModule((x.shape[1],), **{"rows": 5, "columns": 6, **options})
    fit = quiet_trainer(max_epochs=epochs)
    fit.fit(module, loader(x, batch_size), loader(x, batch_size))
    return module, fit


def test_neither_order_nor_batch_size_matter_to_the_batch_rule():
    order = torch.randperm(300, generator=torch.Generator().manual_seed(1))
    expected = trained()[0].units
    for x, size in ((X, 300), (X, 7), (X[order], 64)):
        torch.testing.assert_close(trained(x, size)[0].units, expected, rtol=1e-4, atol=1e-4)


def test_the_batch_rule_from_start_to_end():
    """Against the formula in float64, epoch by epoch, with the neighbourhood as documented."""
    module, _ = trained(epochs=4, sigma=3.0, sigma_end=0.5)
    begin = initial_units("pca", X, 5, 6).double()
    x, units = X.double(), begin
    places = module.encoder.trunk.positions.double()
    squared = torch.cdist(places, places).square()
    for epoch in range(4):
        sigma = 3.0 * (0.5 / 3.0) ** (epoch / 3)
        weight = torch.exp(-squared[torch.cdist(x, units).argmin(1)] / (2 * sigma**2))
        units = (weight.T @ x) / weight.sum(0).unsqueeze(1)
    torch.testing.assert_close(module.units.double(), units, rtol=1e-4, atol=1e-4)


def test_several_moves_an_epoch():
    """Against the formula in float64: older samples fade, the neighbourhood shrinks with every move."""
    module, _ = trained(batch_size=60, epochs=3, updates_per_epoch=2, sigma=3.0, sigma_end=0.5)
    units = initial_units("pca", X, 5, 6).double()
    places = module.encoder.trunk.positions.double()
    squared = torch.cdist(places, places).square()
    total, count = torch.zeros(30, 6, dtype=torch.float64), torch.zeros(30, dtype=torch.float64)
    for move in range(6):
        for batch in X.double().split(60)[slice(0, 3) if move % 2 == 0 else slice(3, 5)]:
            nearest = torch.cdist(batch, units).argmin(1)
            total.index_add_(0, nearest, batch)
            count += nearest.bincount(minlength=30)
        sigma = 3.0 * (0.5 / 3.0) ** (move / 5)
        weight = torch.exp(-squared / (2 * sigma**2))
        units = (weight @ total) / (weight @ count).unsqueeze(1)
        total, count = total / 2, count / 2
    torch.testing.assert_close(module.units.double(), units, rtol=1e-4, atol=1e-4)


def test_another_fit_knows_nothing_of_the_first_ones_sums():
    again, _ = trained(epochs=1, updates_per_epoch=3)
    fresh = SOMModule((6,), rows=5, columns=6, updates_per_epoch=3)
    fresh.load_state_dict(again.state_dict())
    for module in (again, fresh):
        quiet_trainer(max_epochs=1).fit(module, loader(X + 5))
    assert torch.equal(again.units, fresh.units)


def test_more_moves_come_closer_in_as_many_epochs():
    _, one = trained(epochs=5)
    _, many = trained(epochs=5, updates_per_epoch=6)
    assert many.callback_metrics["val/loss"] < one.callback_metrics["val/loss"]


def test_a_map_of_a_square_is_in_order():
    """Uniform points of the plane: neighbours stay neighbours, and units spread over the square."""
    x = torch.rand(1000, 2, generator=torch.Generator().manual_seed(0))
    for options in ({}, {"rule": "online"}, {"topology": "hexagonal"}):
        module, fit = trained(x, 100, 10, rows=8, columns=8, **options)
        assert fit.callback_metrics["val/topographic_error"] < 0.1
        assert fit.callback_metrics["val/loss"] < 0.08  # 64 squares of side 1/8: 0.048 is the least
        assert module.units.amin(0).max() < 0.15 and module.units.amax(0).min() > 0.85


@pytest.mark.parametrize(
    "options",
    [
        {"topology": "hexagonal", "torus": True, "rows": 6},
        {"neighbourhood": "bubble", "start": "sample"},
        {"rule": "online", "start": "random", "decay": "linear"},
        {"rule": "online", "decay": "inverse", "torus": True},
    ],
)
def test_variants_lower_the_error(options):
    _, short = trained(epochs=1, **options)
    module, fit = trained(epochs=15, **options)
    assert fit.callback_metrics["val/loss"] < short.callback_metrics["val/loss"]
    assert module.units.isfinite().all() and 0 <= fit.callback_metrics["val/topographic_error"] <= 1


def test_a_mexican_hat_stays_among_the_data():
    """It pushes away what is not near, so errors stay large; but better than one unit in the middle."""
    module, fit = trained(epochs=15, rule="online", neighbourhood="mexican_hat", init="random")
    assert fit.callback_metrics["val/loss"] < (X - X.mean(0)).norm(dim=1).mean() and module.units.isfinite().all()


def test_what_evaluation_says():
    module, fit = trained()
    distance = torch.cdist(X, module.units)
    two = distance.topk(2, largest=False).indices
    places = module.encoder.trunk.positions
    apart = (places[two[:, 0]] - places[two[:, 1]]).norm(dim=1) > 1.5
    around = torch.exp(torch.cdist(places, places).square()[two[:, 0]] / (-2 * 0.5**2))
    assert fit.callback_metrics["val/loss"].item() == pytest.approx(distance.amin(1).mean().item(), rel=1e-4)
    assert fit.callback_metrics["val/topographic_error"].item() == pytest.approx(apart.float().mean().item())
    distortion = (around * distance.square()).sum(1).mean().item()
    assert fit.callback_metrics["val/distortion"].item() == pytest.approx(distortion, rel=1e-3)


def test_codes_are_places_or_activations(tmp_path):
    module, _ = trained()
    winners = torch.cdist(X, module.units).argmin(1)
    assert torch.equal(module.best_matching_units(X), winners)
    assert torch.equal(module.encode(X), torch.stack([winners // 6, winners % 6], 1).float())
    assert torch.equal(module.reconstruct({"input": X}), module.units[winners])
    other, _ = trained(encoding="activation")
    codes = other.encode(X)
    assert codes.shape == (300, 30) and torch.equal(codes.argmax(1), other.best_matching_units(X))
    torch.testing.assert_close(codes.sum(1), torch.ones(300))
    save_encoder(other.encoder, tmp_path / "e")
    torch.testing.assert_close(load_encoder(tmp_path / "e")(X), codes)


def test_iris_by_the_datamodule():
    pl.seed_everything(0, verbose=False)
    data = Vectors("iris")
    module = SOMModule(data.input_shape, rows=7, columns=7, normalisation=data.normalisation)
    fit = quiet_trainer(max_epochs=20)
    fit.fit(module, data)
    untrained = torch.cdist(data.parts.rows["val"], SOMModule((4,), rows=7, columns=7).units).amin(1).mean()
    assert fit.callback_metrics["val/loss"] < untrained / 3


def test_a_large_mean_does_not_cancel():
    module, fit = trained(X + 1000)
    expected = torch.cdist(X.double() + 1000, module.units.double())
    assert torch.equal(module.best_matching_units(X + 1000), expected.argmin(1))
    plain, _ = trained(X)
    assert fit.callback_metrics["val/loss"].item() == pytest.approx(
        torch.cdist(X, plain.units).amin(1).mean().item(), rel=0.02
    )


TWO_PROCESSES = """
from test_som import Save, loader, pl, quiet_trainer
from zoo import SOMModule
for name, callbacks in (("plain", []), ("saved", [Save({folder!r})])):
    pl.seed_everything(0, verbose=False)
    module = SOMModule((6,), rows=5, columns=6, updates_per_epoch=2)
    fit = quiet_trainer({folder!r}, max_epochs=3, devices=2, strategy="ddp", callbacks=callbacks)
    fit.fit(module, loader(batch_size=25))
    fit.save_checkpoint({folder!r} + "/" + name + ".ckpt")
"""


class Save(pl.Callback):
    """In the middle of every epoch."""

    def __init__(self, folder):
        self.folder = folder

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        if batch_idx == 2:
            trainer.save_checkpoint(self.folder + "/middle.ckpt")


@pytest.mark.long
def test_a_checkpoint_of_two_processes_leaves_each_its_own_sums(two_processes, tmp_path):
    """Reducing in place would leave every process the sums of all, which the epoch's end would add up again."""
    two_processes(TWO_PROCESSES)
    plain, saved = (
        torch.load(tmp_path / f"{name}.ckpt", weights_only=True)["state_dict"] for name in ("plain", "saved")
    )
    assert (tmp_path / "middle.ckpt").exists()
    assert all(torch.equal(value, saved[name]) for name, value in plain.items())


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="mexican_hat has negative weights"):
        SOMModule((6,), neighbourhood="mexican_hat")
    with pytest.raises(ValueError, match="two units or more"):
        SOMModule((6,), rows=1, columns=1)
    with pytest.raises(ValueError, match="updates_per_epoch must be 1 or more"):
        SOMModule((6,), updates_per_epoch=0)
    with pytest.raises(ValueError, match="for rule 'batch'; got 3 and 'online'"):
        SOMModule((6,), updates_per_epoch=3, rule="online")
    with pytest.raises(ValueError, match="lr must be 0 to 1"):
        SOMModule((6,), lr=2.0)
    with pytest.raises(ValueError, match="row 3 of the batch, column 2, is NaN"):
        broken = X.clone()
        broken[3, 2] = float("nan")
        trained(broken)
    with pytest.raises(ValueError, match="row 23 of the batch, column 4, is NaN"):  # beyond the first 1000
        broken = X.repeat(10, 1)
        broken[2023, 4] = float("inf")
        trained(broken)
    with pytest.raises(ValueError, match="only 1"):
        trained(X[:1])
    with pytest.warns(UserWarning, match="a map of 30 units for 20 samples: .* 23 units would be usual"):
        trained(X[:20])
    with pytest.raises(ValueError, match=r"input_shape is \(5,\) but the batch holds inputs of shape \(6,\)"):
        quiet_trainer().fit(SOMModule((5,)), loader())

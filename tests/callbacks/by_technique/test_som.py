import pytest
import torch
from conftest import quiet_trainer
from sklearn.cluster import KMeans

from callbacks.by_technique.som import SOMMap, majority, neighbour_distances
from datamodules.images import Digits
from datamodules.tabular import Vectors
from zoo import AutoencoderModule, SOMModule


def test_distances_to_neighbours():
    grid = torch.arange(12.0).view(3, 4, 1)  # 1 to the right, 4 down
    plane = neighbour_distances(grid, hexagonal=False, torus=False)
    assert plane[1, 1] == (1 + 1 + 4 + 4 + 3 + 3 + 5 + 5) / 8 and plane[0, 0] == (1 + 4 + 5) / 3
    hexagons = neighbour_distances(grid, hexagonal=True, torus=False)
    assert hexagons[1, 1] == (1 + 1 + 4 + 3 + 4 + 5) / 6  # a row moved right: its own column and the next
    assert neighbour_distances(torch.ones(4, 4, 2), hexagonal=True, torus=True).abs().max() == 0


def test_the_most_frequent_label():
    winners, labels = torch.tensor([0, 0, 0, 2, 2]), torch.tensor([1, 1, 0, -1, 3])
    assert majority(winners, labels, 4).tolist() == [1, -1, 3, -1]
    assert majority(winners, torch.full((5,), -1), 2).tolist() == [-1, -1]


def test_figures_of_images_and_of_vectors(tmp_path):
    for name, data, options in (
        ("digits", Digits(), {}),
        ("wine", Vectors("wine"), {"topology": "hexagonal"}),
    ):
        module = SOMModule(data.input_shape, rows=4, columns=5, **options)
        fit = quiet_trainer(tmp_path / name, callbacks=[SOMMap(planes=6)])
        fit.fit(module, data)
        for figure in ("map.png", "units.png"):
            assert (tmp_path / name / figure).stat().st_size > 5000


def test_idle_with_other_modules(tmp_path):
    data = Digits()
    quiet_trainer(tmp_path, callbacks=[SOMMap()]).fit(AutoencoderModule(data.input_shape), data)
    assert not list(tmp_path.rglob("*.png"))


def test_both_errors_stand_beside_no_order_no_map_and_k_means(tmp_path):
    data, callback = Digits(), SOMMap()
    module = SOMModule((1, 8, 8), rows=4, columns=5)
    trainer = quiet_trainer(tmp_path, max_epochs=3, callbacks=[callback])
    trainer.fit(module, data)
    trainer.test(module, data, verbose=False)
    topographic, quantisation = callback.findings(trainer, module)
    test = data.splits["test"].images.flatten(1).double() / 255
    train = data.splits["train"].images.flatten(1).double() / 255
    # 4 x 5 units with eight neighbours: 4 corners of 3, 10 on the edges of 5, 6 inside of 8.
    assert topographic.references[0].value == pytest.approx(1 - (4 * 3 + 10 * 5 + 6 * 8) / 20 / 19)
    assert topographic.value == pytest.approx(trainer.callback_metrics["test/topographic_error"].item())
    assert topographic.samples == len(test) and topographic.baselines
    single, centres = quantisation.references
    assert single.value == pytest.approx((test - test.mean(0)).norm(dim=1).mean().item(), rel=1e-4)
    theirs = KMeans(20, n_init=1, max_iter=50, random_state=0).fit(train.numpy())
    assert centres.value == pytest.approx(theirs.transform(test.numpy()).min(1).mean(), rel=0.03)
    assert centres.value < quantisation.value < single.value

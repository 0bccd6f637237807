import torch
from conftest import quiet_trainer

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

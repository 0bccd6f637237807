import numpy as np
import pytest
import torch
from conftest import quiet_trainer
from PIL import Image
from torch.utils.data import DataLoader

from callbacks.by_technique.pca import PrincipalComponents, component_grid, scree
from datamodules.images import Digits
from zoo import AutoencoderModule, PCAModule


def pixels(path):
    return np.asarray(Image.open(path).convert("RGB"))


def test_components_and_scree_are_drawn(tmp_path):
    module = PCAModule((1, 8, 8), n_components=20)
    quiet_trainer(tmp_path, callbacks=[PrincipalComponents(components=12)]).fit(module, Digits())
    for name in ("components", "scree"):
        image = pixels(tmp_path / f"{name}.png")
        assert min(image.shape[:2]) > 150 and image.std() > 10
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_each_component_is_shown_with_its_share():
    mean, components = torch.rand(1, 4, 6), torch.randn(5, 1, 4, 6)
    figure = component_grid(mean, components, torch.tensor([0.5, 0.2, 0.1, 0.05, 0.01]))
    shown = [axes for axes in figure.axes if axes.images]
    assert [axes.get_title() for axes in shown] == ["mean", "1: 50.0%", "2: 20.0%", "3: 10.0%", "4: 5.0%", "5: 1.0%"]
    for axes, component in zip(shown[1:], components, strict=True):
        image = axes.images[0].get_array().squeeze()
        signs = np.sign(np.asarray(image) - 0.5)
        assert image.shape == (4, 6) and (signs == component[0].sign().numpy()).all()
        assert max(image.max() - 0.5, 0.5 - image.min()) == pytest.approx(0.5)


def test_colour_and_a_single_component():
    figure = component_grid(torch.rand(3, 5, 5), torch.randn(1, 3, 5, 5), torch.tensor([1.0]))
    assert sum(bool(axes.images) for axes in figure.axes) == 2


def test_the_scree_says_how_many_are_needed():
    figure = scree(torch.tensor([0.6, 0.31, 0.05, 0.03, 0.01, 0.0]), kept=3)
    assert figure.axes[1].texts[0].get_text().splitlines()[1:] == ["90%: 2", "95%: 3", "99%: 4"]
    assert "3 explain 96.0%" in figure.axes[1].get_title()
    kept = figure.axes[0].lines[1].get_xdata()
    assert list(kept) == [1, 2, 3] and len(figure.axes[0].lines[0].get_xdata()) == 5  # 0 has no logarithm


def test_vectors_have_a_scree_alone(tmp_path):
    x = DataLoader(torch.randn(50, 6), batch_size=25)
    quiet_trainer(tmp_path, callbacks=[PrincipalComponents()]).fit(PCAModule((6,)), x, x)
    assert [path.name for path in tmp_path.glob("*.png")] == ["scree.png"]


def test_data_without_variance(tmp_path):
    x = DataLoader(torch.ones(50, 1, 3, 3), batch_size=25)
    quiet_trainer(tmp_path, callbacks=[PrincipalComponents()]).fit(PCAModule((1, 3, 3), n_components=2), x, x)
    assert (tmp_path / "components.png").exists() and (tmp_path / "scree.png").exists()


@pytest.mark.parametrize("module", [AutoencoderModule((1, 8, 8)), PCAModule((1, 8, 8))])
def test_idle_without_components_or_before_there_are_any(tmp_path, module):
    quiet_trainer(tmp_path, callbacks=[PrincipalComponents()]).validate(module, Digits(), verbose=False)
    assert not list(tmp_path.glob("*.png"))


def test_impossible_options_are_refused():
    with pytest.raises(ValueError, match="got 0"):
        PrincipalComponents(components=0)

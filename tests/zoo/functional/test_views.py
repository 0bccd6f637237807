"""Views beside torchvision's operations with the same numbers, and 20,000 draws beside torchvision's."""

import itertools

import pytest
import torch
from scipy.stats import chisquare, ks_2samp, kstest
from torchvision.transforms import ColorJitter, RandomAffine, RandomResizedCrop
from torchvision.transforms.v2 import functional as F

from zoo.functional.view_colour import GREY, blur, blur_radius, change_chosen, jitter, luminance, solarise
from zoo.functional.view_geometry import affine, crop_windows, resized_crop
from zoo.functional.views import (
    VIEW_RECIPES,
    ViewRecipe,
    _view,
    default_recipe,
    idle_colours,
    make_views,
    parse_recipe,
    plan_views,
    view_numbers,
)

X = torch.rand(24, 3, 30, 26, generator=torch.Generator().manual_seed(0))
DRAWS = 20_000
CLOSE = {"rtol": 0, "atol": 1e-4}
ADJUST = [F.adjust_brightness, F.adjust_contrast, F.adjust_saturation, F.adjust_hue]


def numbers(count=24, seed=0, epoch=0, view=0):
    return view_numbers(seed, epoch, torch.arange(count), view)


@pytest.fixture(scope="module")
def drawn():
    """What the fullest recipe does to 20,000 images."""
    recipe = VIEW_RECIPES["photo"]._replace(solarise=0.1, shift=0.1, rotate=20.0, shear=10.0)
    return recipe, plan_views(recipe, numbers(DRAWS, seed=3), (3, 32, 40))


@pytest.mark.parametrize("size", [(30, 26), (32, 32), (45, 60), (16, 12), (7, 5)])
def test_a_crop_is_resized_as_torchvision_does_and_mirrored(size):
    plan = plan_views(ViewRecipe(scale=(0.1, 1.0), flip=0.5), numbers(), (3, 30, 26))
    found = resized_crop(X, plan.window, size, plan.flip)
    assert 0 < plan.flip.sum() < len(X)
    for image, window, flip, view in zip(X, plan.window.tolist(), plan.flip, found, strict=True):
        expected = F.resized_crop(image, *window, list(size), antialias=True)
        torch.testing.assert_close(view, F.horizontal_flip(expected) if flip else expected, **CLOSE)


def test_images_are_turned_sheared_and_shifted_as_torchvision_does():
    recipe = ViewRecipe(shift=0.3, rotate=40.0, shear=25.0)
    plan = plan_views(recipe, numbers(), (3, 30, 26))
    found = affine(X, plan.turn, plan.shift, plan.shear)
    for image, angle, (down, right), shear, view in zip(X, plan.turn, plan.shift, plan.shear, found, strict=True):
        wide = F.pad(image, [60], padding_mode="edge")  # torchvision's fills with one colour
        options = {"translate": [right.item(), down.item()], "scale": 1.0, "shear": [shear.item(), 0.0]}
        moved = F.affine(wide, angle.item(), interpolation=F.InterpolationMode.BILINEAR, **options)
        torch.testing.assert_close(view, F.center_crop(moved, [30, 26]), **CLOSE)


@pytest.mark.parametrize("which", range(3))
def test_brightness_contrast_and_saturation_are_torchvisions_clipping_included(which):
    factors = torch.tensor([1.0, 1.0, 1.0, 0.0]).repeat(len(X), 1)
    factors[:, which] = torch.linspace(0, 2, len(X))
    found = jitter(X, factors, torch.arange(4).repeat(len(X), 1))
    for image, factor, view in zip(X, factors[:, which].tolist(), found, strict=True):
        torch.testing.assert_close(view, ADJUST[which](image, factor), **CLOSE)


def test_hue_leaves_greys_and_luminance_and_turns_pure_colours_as_hsv_does_by_thirds():
    factors = torch.tensor([[1.0, 1.0, 1.0, turn] for turn in torch.linspace(-0.5, 0.5, len(X)).tolist()])
    order = torch.tensor([3, 0, 1, 2]).repeat(len(X), 1)
    greys = X[:, :1].expand(X.shape)
    torch.testing.assert_close(jitter(greys, factors, order), greys, rtol=0, atol=2e-6)
    soft = 0.45 + 0.1 * X  # nothing to clip
    turned = jitter(soft, factors, order)
    torch.testing.assert_close(luminance(turned), luminance(soft), rtol=0, atol=2e-6)
    assert (turned - soft).abs().amax((1, 2, 3))[[0, -1]].min() > 0.05
    third = jitter(soft, torch.tensor([[1.0, 1.0, 1.0, 1 / 3]]).expand(len(X), 4), order)
    hsv = F.adjust_hue(soft, 1 / 3)
    chroma = [image - luminance(image) for image in (third, hsv)]
    torch.testing.assert_close(*chroma, rtol=0, atol=1e-4)
    back = jitter(turned, factors * torch.tensor([1.0, 1.0, 1.0, -1.0]), order)
    torch.testing.assert_close(back, soft, rtol=0, atol=2e-6)


@pytest.mark.parametrize("radius", [1, 2, 5])
def test_blur_is_torchvisions(radius):
    sigma = torch.linspace(0.1, 4, len(X))
    for image, width, view in zip(X, sigma.tolist(), blur(X, sigma, radius), strict=True):
        torch.testing.assert_close(view, F.gaussian_blur(image, [2 * radius + 1] * 2, [width] * 2), **CLOSE)


def test_a_blurs_kernel_is_a_tenth_of_the_side():
    assert [2 * blur_radius(side, 300) + 1 for side in (1, 2, 28, 32, 64, 96, 224)] == [1, 3, 3, 3, 7, 9, 23]


def test_solarise_is_torchvisions():
    torch.testing.assert_close(solarise(X), F.solarize(X, 0.5))


@pytest.mark.parametrize("everywhere", [False, True])
def test_only_what_is_chosen_is_changed(everywhere):
    """Both on a CPU and as on devices that the host does not wait for."""
    chosen, own = torch.arange(len(X)) % 3 == 0, torch.arange(1.0, len(X) + 1).view(-1, 1, 1, 1)
    found = change_chosen(X.clone(), chosen, lambda x, y: x * y, own, everywhere=everywhere)
    torch.testing.assert_close(found, torch.where(chosen.view(-1, 1, 1, 1), X * own, X))
    nobody = change_chosen(X.clone(), torch.zeros_like(chosen), blur, own.flatten(), everywhere=everywhere)
    assert torch.equal(nobody, X)


def test_views_are_the_same_where_all_are_changed_and_then_chosen():
    recipe, u = VIEW_RECIPES["photo"]._replace(solarise=0.3), numbers()
    plan = plan_views(recipe, u, (3, 30, 26))
    some, every = (_view(X, recipe, plan, (20, 20), everywhere) for everywhere in (False, True))
    torch.testing.assert_close(some, every, rtol=0, atol=1e-6)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", ["photo", "small", "grey", "mild"])
def test_a_whole_view_is_torchvisions_chain(name, channels):
    """All but the hue, which is another one."""
    recipe, x, u = VIEW_RECIPES[name]._replace(hue=0.0, solarise=0.3), X[:, :channels], numbers(seed=5)
    found, plan = make_views(x, recipe, u, (24, 28)), plan_views(recipe, u, (channels, 30, 26))
    for i, view in enumerate(found):
        expected = F.resized_crop(x[i], *plan.window[i].tolist(), [24, 28], antialias=True)
        expected = F.horizontal_flip(expected) if plan.flip[i] else expected
        for which in plan.order[i].tolist() if plan.jitter[i] else ():
            expected = ADJUST[which](expected, plan.factors[i, which].item())
        expected = F.rgb_to_grayscale(expected, channels) if recipe.grey and plan.grey[i] else expected
        expected = F.gaussian_blur(expected, [3, 3], [plan.sigma[i].item()] * 2) if plan.blur[i] else expected
        expected = F.solarize(expected, 0.5) if plan.solarise[i] else expected
        torch.testing.assert_close(view, expected, **CLOSE)


def alike(ours, theirs):
    assert ks_2samp(ours, theirs, method="asymp").pvalue > 0.01


@pytest.mark.parametrize(
    ("side", "scale", "ratio", "draws"),
    [
        ((32, 32), (0.08, 1.0), (3 / 4, 4 / 3), DRAWS),
        ((20, 48), (0.5, 1.0), (3 / 4, 4 / 3), 4000),
        ((5, 3), (0.02, 0.6), (0.2, 9.0), 4000),
    ],
)
def test_windows_are_distributed_as_torchvisions(side, scale, ratio, draws):
    torch.manual_seed(0)
    image = torch.empty(3, *side)
    theirs = torch.tensor([RandomResizedCrop.get_params(image, list(scale), list(ratio)) for _ in range(draws)])
    ours = plan_views(ViewRecipe(scale=scale, ratio=ratio), numbers(draws, seed=1), (3, *side)).window
    for a, b in zip(ours.T, theirs.T, strict=True):
        alike(a, b)
    (area, shape), (their_area, their_shape) = ((w[:, 2] * w[:, 3], w[:, 3] / w[:, 2]) for w in (ours, theirs))
    alike(area, their_area)
    alike(shape, their_shape)
    assert (ours[:, :2] >= 0).all() and (ours[:, :2] + ours[:, 2:] <= torch.tensor(side)).all()


@pytest.mark.parametrize(("side", "middle"), [((10, 100), (10, 13)), ((100, 10), (13, 10)), ((20, 20), (20, 20))])
def test_where_no_try_fits_the_window_is_the_largest_in_the_middle(side, middle):
    """Areas are drawn up to nine times the image's."""
    window = crop_windows(torch.full((2, 2, 10), 0.999), torch.rand(2, 2), side, (1.0, 9.0))
    expected = [(side[0] - middle[0]) // 2, (side[1] - middle[1]) // 2, *middle]
    assert window.tolist() == [expected] * 2


def test_jitter_is_distributed_as_torchvisions(drawn):
    recipe, plan = drawn
    torch.manual_seed(1)
    ranges = [[max(0, 1 - most), 1 + most] for most in (recipe.brightness, recipe.contrast, recipe.saturation)]
    theirs = [ColorJitter.get_params(*ranges, [-recipe.hue, recipe.hue]) for _ in range(DRAWS)]
    for which in range(4):
        alike(plan.factors[:, which], torch.tensor([each[1 + which] for each in theirs]))
    table = {order: i for i, order in enumerate(itertools.permutations(range(4)))}
    ours = [table[tuple(order)] for order in plan.order.tolist()]
    alike(ours, [table[tuple(each[0].tolist())] for each in theirs])
    assert chisquare(torch.bincount(torch.tensor(ours), minlength=24)).pvalue > 0.01


def test_turns_and_shifts_are_distributed_as_torchvisions(drawn):
    recipe, plan = drawn
    torch.manual_seed(2)
    ranges = ([-recipe.rotate, recipe.rotate], [recipe.shift] * 2, None, [-recipe.shear, recipe.shear], [40, 32])
    angle, shift, _, shear = zip(*(RandomAffine.get_params(*ranges) for _ in range(DRAWS)), strict=True)
    alike(plan.turn, angle)
    alike(plan.shear, [x for x, _ in shear])
    alike(plan.shift[:, 1], [x for x, _ in shift])
    alike(plan.shift[:, 0], [y for _, y in shift])


def test_probabilities_are_those_of_the_recipe(drawn):
    recipe, plan = drawn
    happens = {name: getattr(plan, name) for name in ("flip", "jitter", "grey", "blur", "solarise")}
    for name, chosen in happens.items():
        p = getattr(recipe, name)
        assert abs(chosen.float().mean().item() - p) < 3 * (p * (1 - p) / DRAWS) ** 0.5, name
    assert kstest(plan.sigma, "uniform", args=(0.1, 1.9)).pvalue > 0.01
    room = torch.tensor([32, 40]) - plan.window[:, 2:]
    place = ((plan.window[:, :2] + 0.5) / (room + 1)).T  # as shares of where the window has room
    own = [*map(torch.Tensor.float, happens.values()), *place, *plan.factors.T, *plan.shift.T, plan.turn, plan.shear]
    related = torch.corrcoef(torch.stack([*own, plan.sigma]))
    assert (related - torch.eye(len(related))).abs().max() < 4 / DRAWS**0.5  # no number serves twice


def test_numbers_depend_on_seed_epoch_sample_and_view_alone():
    index = torch.tensor([7, 2, 100_000])
    alone = torch.cat([view_numbers(1, 2, i.view(1), 3) for i in index])
    assert torch.equal(view_numbers(1, 2, index, 3), alone)
    assert torch.equal(view_numbers(1, 2, index.flip(0), 3), alone.flip(0))
    for other in (view_numbers(0, 2, index, 3), view_numbers(1, 0, index, 3), view_numbers(1, 2, index, 0)):
        assert not (other == alone).any()


@pytest.mark.parametrize("name", VIEW_RECIPES)
def test_views_are_the_same_in_any_batch_and_order(name):
    x = torch.rand(80, 3, 12, 16)  # more than a CPU takes at a time
    u = numbers(80, seed=2)
    whole = make_views(x, VIEW_RECIPES[name], u)
    halves = torch.cat([make_views(x[part], VIEW_RECIPES[name], u[part]) for part in (slice(33), slice(33, None))])
    torch.testing.assert_close(halves, whole, rtol=0, atol=1e-6)
    mixed = torch.randperm(80)
    torch.testing.assert_close(make_views(x[mixed], VIEW_RECIPES[name], u[mixed]), whole[mixed], rtol=0, atol=1e-6)
    assert whole.min() >= 0 and whole.max() <= 1 and not torch.equal(whole, x)


@pytest.mark.parametrize("name", VIEW_RECIPES)
def test_views_in_bfloat16_are_computed_in_float32_under_autocast_too(name):
    x, u, recipe = X.bfloat16(), numbers(), VIEW_RECIPES[name]
    with torch.autocast("cpu", torch.bfloat16):
        found = make_views(x, recipe, u)
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, make_views(x.float(), recipe, u).bfloat16())


def test_the_images_stay_as_they_are_and_an_empty_recipe_changes_nothing():
    before = X.clone()
    for recipe in VIEW_RECIPES.values():
        make_views(X, recipe._replace(solarise=0.5), numbers())
    assert torch.equal(X, before)
    assert torch.equal(make_views(X, ViewRecipe(), numbers()), X)
    assert make_views(X[:0], VIEW_RECIPES["photo"], numbers(0), (8, 8)).shape == (0, 3, 8, 8)


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 1, 9), (3, 2, 2), (1, 3, 40)])
@pytest.mark.parametrize("name", VIEW_RECIPES)
def test_the_smallest_images_have_views(name, shape):
    views = make_views(torch.rand(50, *shape), VIEW_RECIPES[name], numbers(50))
    assert views.shape == (50, *shape) and views.isfinite().all()


def test_a_recipe_is_a_name_or_a_mapping_with_what_differs():
    assert parse_recipe("small") == VIEW_RECIPES["small"]
    found = parse_recipe({"name": "photo", "blur": 0, "scale": [0.3, 1]})
    assert found == VIEW_RECIPES["photo"]._replace(blur=0.0, scale=(0.3, 1.0))
    assert isinstance(found.scale, tuple) and isinstance(found.blur, float)
    for name, recipe in VIEW_RECIPES.items():
        assert parse_recipe({"name": name, **recipe._asdict()}) == recipe


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("foto", "unknown recipe 'foto'.*did you mean 'photo'.*handwriting"),
        ({"blur": 0.5}, "unknown recipe None"),
        (3, "must be a name or a mapping with `name`; got 3"),
        ({"name": "photo", "blurr": 0.1}, "no option 'blurr'.*did you mean 'blur'"),
        ({"name": "photo", "blur": 1.5}, "`recipe.blur` must be 0 to 1; got 1.5"),
        ({"name": "photo", "blur": "much"}, "`recipe.blur` must be a number; got 'much'"),
        ({"name": "photo", "flip": True}, "`recipe.flip` must be a number"),
        ({"name": "photo", "blur": float("nan")}, "`recipe.blur` must be 0 to 1"),
        ({"name": "photo", "brightness": float("inf")}, "`recipe.brightness` must be 0 or more"),
        ({"name": "photo", "hue": 0.6}, "`recipe.hue` must be 0 to 0.5"),
        ({"name": "photo", "scale": 0.3}, "`recipe.scale` must be two numbers"),
        ({"name": "photo", "scale": [0, 1]}, "`recipe.scale` must be more than 0 to 1"),
        ({"name": "photo", "scale": [0.5, 0.2]}, "`recipe.scale` must have the smaller number first"),
        ({"name": "photo", "blur_sigma": [0, 1]}, "`recipe.blur_sigma` must be more than 0"),
        ({"name": "photo", "rotate": -3}, "`recipe.rotate` must be 0 to 180"),
        ({"name": "photo", "shear": 90}, "`recipe.shear` must be 0 to 89"),
    ],
)
def test_mistakes_in_a_recipe_are_named(spec, message):
    with pytest.raises(ValueError, match=message):
        parse_recipe(spec)


@pytest.mark.parametrize(
    ("shape", "mirrored", "name"),
    [
        ((3, 224, 224), None, "photo"),
        ((3, 64, 64), True, "small"),
        ((3, 32, 32), False, "mild"),
        ((1, 28, 28), True, "grey"),
        ((1, 28, 28), None, "grey"),
        ((1, 28, 28), False, "handwriting"),
        ((5, 28, 28), None, "grey"),
    ],
)
def test_the_recipe_follows_the_data(shape, mirrored, name):
    assert default_recipe(shape, mirrored) == name
    assert idle_colours(VIEW_RECIPES[name], shape[0]) == ""
    assert mirrored is not False or VIEW_RECIPES[name].flip == 0


def test_colours_for_images_without_them_are_told():
    line = idle_colours(VIEW_RECIPES["photo"], 1)
    assert "`recipe.saturation`, `recipe.hue`, `recipe.grey` do nothing" in line
    assert idle_colours(VIEW_RECIPES["photo"]._replace(jitter=0.0, grey=0.0), 1) == ""
    with pytest.raises(ValueError, match=r"`recipe.grey`: images of 4 channels have no red, green and blue; set to 0"):
        idle_colours(VIEW_RECIPES["grey"]._replace(grey=0.2), 4)
    assert make_views(torch.rand(3, 4, 8, 8), VIEW_RECIPES["grey"], numbers(3)).shape == (3, 4, 8, 8)


def test_what_are_no_images_is_refused():
    u, recipe = numbers(), VIEW_RECIPES["photo"]
    with pytest.raises(ValueError, match=r"must be \(B, C, H, W\) floats in \[0, 1\]; got .*uint8"):
        make_views((X * 255).byte(), recipe, u)
    with pytest.raises(ValueError, match=r"must be \(B, C, H, W\)"):
        make_views(X[0], recipe, u)
    with pytest.raises(ValueError, match=r"numbers must be \(24, 40\)"):
        make_views(X, recipe, u[:5])


def test_the_weights_of_grey_are_torchvisions():
    torch.testing.assert_close(luminance(X), F.rgb_to_grayscale(X))
    assert sum(GREY) == pytest.approx(0.9999)

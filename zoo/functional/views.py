"""Random views of images, whole batches on their device: a recipe says how much, and each sample has its own numbers.

What self-supervision learns from two views of an image is what they share, so a recipe says what shall not matter.
A view's numbers are a function of seed, epoch, sample and view, never of the batch or the process.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from zoo.functional.randomness import counter_based_uniform
from zoo.functional.view_colour import JITTER, blur, grey, jitter, solarise
from zoo.functional.view_geometry import TRIES, affine, crop_windows, resized_crop
from zoo.functional.view_recipes import VIEW_RECIPES, RecipeSpec, ViewRecipe, default_recipe, idle_colours, parse_recipe

__all__ = ["VIEW_RECIPES", "RecipeSpec", "ViewPlan", "ViewRecipe", "default_recipe", "idle_colours", "make_views"]
__all__ += ["parse_recipe", "plan_views", "view_numbers"]


_NAMES = (
    "top",
    "left",
    "flip",
    "jitter",
    *JITTER,
    "grey",
    "blur",
    "sigma",
    "solarise",
    "down",
    "right",
    "turn",
    "shear",
)
_FIRST = 2 * TRIES + 4  # after the tries of crops and the order of the jitter
_DRAWN = _FIRST + len(_NAMES)
_STRIDE = 64  # of a view's numbers among all: an operation that is added later changes none of the others


def view_numbers(seed: int, epoch: int, index: Tensor, view: int) -> Tensor:
    """The random numbers of a view of each sample: a function of seed, epoch, sample and view alone.

    Args:
        seed: Seed of the run.
        epoch: Epoch, from 0.
        index: Index of each sample in its data set (B,), int64.
        view: Number of the view, from 0.

    Returns:
        Uniform numbers (B, 40) in (0, 1), as ``make_views`` takes them.
    """
    places = index.unsqueeze(1) * _STRIDE + torch.arange(_DRAWN, device=index.device)
    return counter_based_uniform(hash((seed, epoch, view)), places)


class ViewPlan(NamedTuple):
    """What is done to each image: a recipe with its numbers filled in. Operations that do not happen are neutral.

    Attributes:
        shift: Pixels down and to the right (B, 2), whole ones.
        turn, shear: Degrees (B,).
        window: Top, left, height and width of the crop (B, 4), int64, in pixels.
        flip: Which are mirrored (B,).
        factors: Factors of brightness, contrast and saturation, and turns of hue (B, 4).
        order: The order of these four (B, 4), int64; of the first two (B, 2) without colours.
        grey, blur: Which lose their colours, and which are blurred (B,).
        sigma: Standard deviation of the blur (B,), in pixels.
        solarise: Which are solarised (B,).
    """

    shift: Tensor
    turn: Tensor
    shear: Tensor
    window: Tensor
    flip: Tensor
    factors: Tensor
    order: Tensor
    grey: Tensor
    blur: Tensor
    sigma: Tensor
    solarise: Tensor


def plan_views(recipe: ViewRecipe, numbers: Tensor, input_shape: tuple[int, int, int]) -> ViewPlan:
    """What a recipe does to each image of a shape (C, H, W) with its numbers (B, 40)."""
    channels, side = input_shape[0], input_shape[1:]
    drawn = dict(zip(_NAMES, numbers[:, _FIRST:].unbind(1), strict=True))
    happens = {name: drawn[name] < getattr(recipe, name) for name in ("flip", "jitter", "grey", "blur", "solarise")}
    either = {name: (2 * u - 1).float() for name, u in drawn.items()}  # from -1 to 1
    shift = torch.stack([either[name] * (recipe.shift * n) for name, n in zip(("down", "right"), side, strict=True)], 1)
    low, high = recipe.blur_sigma
    return ViewPlan(
        shift=shift.round(),
        turn=either["turn"] * recipe.rotate,
        shear=either["shear"] * recipe.shear,
        window=_windows(recipe, numbers, drawn, side),
        flip=happens["flip"],
        factors=_factors(recipe, drawn, happens["jitter"]),
        order=numbers[:, 2 * TRIES : _FIRST][:, : 4 if channels == 3 else 2].argsort(1),
        grey=happens["grey"],
        blur=happens["blur"],
        sigma=(low + (high - low) * drawn["sigma"]).float(),
        solarise=happens["solarise"],
    )


def _windows(recipe: ViewRecipe, numbers: Tensor, drawn: dict[str, Tensor], side: tuple[int, int]) -> Tensor:
    if recipe.scale == (1.0, 1.0):
        zero = torch.zeros_like(drawn["top"], dtype=torch.long)
        return torch.stack([zero, zero, zero + side[0], zero + side[1]], 1)
    place = torch.stack([drawn["top"], drawn["left"]], 1)
    return crop_windows(numbers[:, : 2 * TRIES].unflatten(1, (2, TRIES)), place, side, recipe.scale, recipe.ratio)


def _factors(recipe: ViewRecipe, drawn: dict[str, Tensor], happens: Tensor) -> Tensor:
    ranges = {name: (max(0.0, 1 - most), 1 + most) for name, most in zip(JITTER, recipe[7:10], strict=False)}
    ranges["hue"] = (-recipe.hue, recipe.hue)
    factors = [torch.where(happens, low + (high - low) * drawn[n], n != "hue") for n, (low, high) in ranges.items()]
    return torch.stack(factors, 1).float()


@torch.no_grad()
def make_views(images: Tensor, recipe: ViewRecipe, numbers: Tensor, size: tuple[int, int] | None = None) -> Tensor:
    """A view of each image.

    Operations are torchvision's with the same numbers, but for the hue (see ``view_colour.jitter``) and for what lies
    outside of a rotated image (see ``view_geometry.affine``). They are computed in float32 whatever the images are in.

    Args:
        images: Images (B, C, H, W), floats in [0, 1].
        recipe: What is done, and how much.
        numbers: Numbers of ``view_numbers`` (B, 40).
        size: Height and width of the views; None is the images'.

    Returns:
        Views (B, C, *size) in [0, 1], of the images' dtype.

    Raises:
        ValueError: images that are no floats or not (B, C, H, W); another number of numbers.
    """
    if images.ndim != 4 or not images.is_floating_point():
        raise ValueError(f"images must be (B, C, H, W) floats in [0, 1]; got {tuple(images.shape)}, {images.dtype}")
    if numbers.shape != (len(images), _DRAWN):
        raise ValueError(f"numbers must be ({len(images)}, {_DRAWN}), as of `view_numbers`; got {tuple(numbers.shape)}")
    _, channels, height, width = images.shape
    size = size or (height, width)
    plan = plan_views(recipe, numbers, (channels, height, width))
    count = _CHUNK if images.device.type == "cpu" else max(1, len(images))
    with torch.autocast(images.device.type, enabled=False):
        parts = zip(images.split(count), *(each.split(count) for each in plan), strict=True)
        views = [_view(x.float(), recipe, ViewPlan(*part), size).to(images.dtype) for x, *part in parts]
    return torch.cat(views)


_CHUNK = 64  # images at a time on a CPU: about what its cache holds


def _view(x: Tensor, recipe: ViewRecipe, plan: ViewPlan, size: tuple[int, int]) -> Tensor:
    """What a plan says, leaving out what the recipe never does."""
    if recipe.shift or recipe.rotate or recipe.shear:
        x = affine(x, plan.turn, plan.shift, plan.shear)
    if recipe.scale != (1.0, 1.0) or recipe.flip or size != (x.shape[2], x.shape[3]):
        x = resized_crop(x, plan.window, size, plan.flip)
    if recipe.jitter:
        x = jitter(x, plan.factors, plan.order)
    if recipe.grey:
        x = grey(x, plan.grey)
    if recipe.blur and min(size) > 1:
        x = blur(x, plan.sigma, plan.blur)
    if recipe.solarise:
        x = solarise(x, plan.solarise)
    return x.clamp(0, 1)

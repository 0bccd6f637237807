"""Random views of images, whole batches on their device: a recipe says how much, and each sample has its own numbers.

What self-supervision learns from two views of an image is what they share, so a recipe says what shall not matter.
A view's numbers are a function of seed, epoch, sample and view, never of the batch or the process.
"""

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from zoo.functional.randomness import counter_based_uniform, widest_float_dtype
from zoo.functional.view_colour import JITTER, blur, change_chosen, grey, jitter, solarise
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
_EVENTS = ("flip", "jitter", "grey", "blur", "solarise")
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
    """What is done to each image: a recipe with its numbers filled in.

    Attributes:
        shift: Pixels down and to the right (B, 2), whole ones.
        turn, shear: Degrees (B,).
        window: Top, left, height and width of the crop (B, 4), int64, in pixels.
        flip: Which are mirrored (B,).
        factors: Factors of brightness, contrast and saturation, and turns of hue (B, 4).
        order: The order of these four (B, 4), int64; of the first two (B, 2) without colours.
        sigma: Standard deviation of the blur (B,), in pixels.
        jitter, grey, blur, solarise: Whether this happens (B,).
    """

    shift: Tensor
    turn: Tensor
    shear: Tensor
    window: Tensor
    flip: Tensor
    factors: Tensor
    order: Tensor
    sigma: Tensor
    jitter: Tensor
    grey: Tensor
    blur: Tensor
    solarise: Tensor


def plan_views(recipe: ViewRecipe, numbers: Tensor, input_shape: tuple[int, int, int]) -> ViewPlan:
    """What a recipe does to each image of a shape (C, H, W) with its numbers (B, 40)."""
    channels, side = input_shape[0], input_shape[1:]
    low, span = _ranges(recipe, side, numbers.device)
    drawn = dict(zip(_NAMES, (low + span * numbers[:, _FIRST:]).float().unbind(1), strict=True))
    return ViewPlan(
        shift=torch.stack([drawn["down"], drawn["right"]], 1).round(),
        turn=drawn["turn"],
        shear=drawn["shear"],
        window=_windows(recipe, numbers, side),
        factors=torch.stack([drawn[name] for name in JITTER], 1),
        order=numbers[:, 2 * TRIES : _FIRST][:, : 4 if channels == 3 else 2].argsort(1),
        sigma=drawn["sigma"],
        **{name: drawn[name] < 0 for name in _EVENTS},
    )


@lru_cache
def _ranges(recipe: ViewRecipe, side: tuple[int, int], device: torch.device) -> tuple[Tensor, Tensor]:
    """Least value and span of each of ``_NAMES`` (16,), copied to a device once: the host would wait for each copy.
    What happens by chance does so below 0."""
    most = {name: getattr(recipe, name) for name in JITTER}
    ends = {name: (max(0.0, 1 - value), 1 + value) for name, value in most.items()}
    ends |= {"hue": (-recipe.hue, recipe.hue), "sigma": recipe.blur_sigma}
    ends |= {name: (-getattr(recipe, name), 1 - getattr(recipe, name)) for name in _EVENTS}
    sizes = {"down": recipe.shift * side[0], "right": recipe.shift * side[1], "turn": recipe.rotate}
    ends |= {name: (-value, value) for name, value in (sizes | {"shear": recipe.shear}).items()}
    low, high = torch.tensor([ends.get(name, (0.0, 1.0)) for name in _NAMES], dtype=torch.float64).unbind(1)
    dtype = widest_float_dtype(device)
    return low.to(device, dtype), (high - low).to(device, dtype)


def _windows(recipe: ViewRecipe, numbers: Tensor, side: tuple[int, int]) -> Tensor:
    """Crops (B, 4), or the whole image for all."""
    tries, place = numbers[:, : 2 * TRIES].unflatten(1, (2, TRIES)), numbers[:, _FIRST : _FIRST + 2]
    if recipe.scale != (1.0, 1.0):
        return crop_windows(tries, place, side, recipe.scale, recipe.ratio)
    zero = torch.zeros_like(place, dtype=torch.long)
    return torch.stack([zero[:, 0], zero[:, 1], zero[:, 0] + side[0], zero[:, 1] + side[1]], 1)


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
    cpu = images.device.type == "cpu"
    count = max(1, _CHUNK // max(1, images[:1].numel()) if cpu else len(images))
    with torch.autocast(images.device.type, enabled=False):
        parts = zip(images.split(count), *(each.split(count) for each in plan), strict=True)
        views = [_view(x.float(), recipe, ViewPlan(*part), size, not cpu).to(images.dtype) for x, *part in parts]
    return torch.cat(views)


_CHUNK = 2**20  # numbers in the images that a CPU makes views of at a time: about what its cache holds


def _view(x: Tensor, recipe: ViewRecipe, plan: ViewPlan, size: tuple[int, int], everywhere: bool) -> Tensor:
    """What a plan says, leaving out what the recipe never does; ``everywhere`` as in ``change_chosen``."""
    if recipe.shift or recipe.rotate or recipe.shear:
        x = affine(x, plan.turn, plan.shift, plan.shear)
    if recipe.scale != (1.0, 1.0) or recipe.flip or size != (x.shape[2], x.shape[3]):
        x = resized_crop(x, plan.window, size, plan.flip)
    else:
        x = x.clone()  # from here on in place
    if recipe.jitter:
        x = change_chosen(x, plan.jitter, jitter, plan.factors, plan.order, everywhere=everywhere)
    if recipe.grey:
        x = change_chosen(x, plan.grey, grey, everywhere=everywhere)
    if recipe.blur and min(size) > 1:
        x = change_chosen(x, plan.blur, blur, plan.sigma, everywhere=everywhere)
    if recipe.solarise:
        x = change_chosen(x, plan.solarise, solarise, everywhere=everywhere)
    return x.clamp_(0, 1)

"""Recipes of views by name: how much images are cropped, turned, recoloured and blurred."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from zoo.core.suggest import did_you_mean


class ViewRecipe(NamedTuple):
    """How views are made, in the order in which it happens; what is not said is not done.

    Attributes:
        shift: Largest shift, as a share of a side, 0 to 1; in whole pixels.
        rotate: Largest rotation to either side, in degrees, 0 to 180.
        shear: Largest shear to either side, in degrees, 0 to 89.
        scale: Least and largest share of an image's area in a crop, which is resized to the view; above 0 to 1. With
            (1, 1) nothing is cropped.
        ratio: Least and largest width by height of a crop, above 0.
        flip: Probability of mirroring left to right, 0 to 1.
        jitter: Probability of changing colours, 0 to 1.
        brightness, contrast, saturation: Largest change of the factor, which is uniform in 1 +- this and not below 0.
        hue: Largest turn of hue to either side, in turns, 0 to 0.5.
        grey: Probability of taking the colours away, 0 to 1.
        blur: Probability of a blur, 0 to 1.
        blur_sigma: Least and largest standard deviation of a blur, in pixels, above 0.
        solarise: Probability of inverting what is brighter than a half, 0 to 1.
    """

    shift: float = 0.0
    rotate: float = 0.0
    shear: float = 0.0
    scale: tuple[float, float] = (1.0, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: float = 0.0
    jitter: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    grey: float = 0.0
    blur: float = 0.0
    blur_sigma: tuple[float, float] = (0.1, 2.0)
    solarise: float = 0.0


def _colours(strength: float) -> dict[str, float]:
    """SimCLR's jitter."""
    return dict.fromkeys(("brightness", "contrast", "saturation"), strength * 0.8) | {"hue": strength * 0.2}


VIEW_RECIPES: dict[str, ViewRecipe] = {
    # Chen et al. 2020, appendix A
    "photo": ViewRecipe(scale=(0.08, 1.0), flip=0.5, jitter=0.8, grey=0.2, blur=0.5, **_colours(1.0)),  # type: ignore[arg-type]
    # the same paper's for CIFAR-10 (appendix B.9); crops as of MoCo v2 and SimSiam
    "small": ViewRecipe(scale=(0.2, 1.0), flip=0.5, jitter=0.8, grey=0.2, **_colours(0.5)),  # type: ignore[arg-type]
    "grey": ViewRecipe(scale=(0.2, 1.0), flip=0.5, jitter=0.8, brightness=0.4, contrast=0.4),
    "handwriting": ViewRecipe(scale=(0.4, 1.0), shift=0.1, rotate=15.0, shear=15.0),
    "mild": ViewRecipe(scale=(0.4, 1.0), jitter=0.8, **_colours(0.25)),  # type: ignore[arg-type]
}

RecipeSpec = str | dict[str, Any]

# Least and largest value of each number; whether the least itself is allowed
_LIMITS: dict[str, tuple[float, float, bool]] = {
    "rotate": (0, 180, True),
    "shear": (0, 89, True),
    "scale": (0, 1, False),
    "ratio": (0, 1e6, False),
    "hue": (0, 0.5, True),
    "blur_sigma": (0, 1e6, False),
    **dict.fromkeys(("brightness", "contrast", "saturation"), (0, 1e6, True)),
}


def parse_recipe(spec: RecipeSpec) -> ViewRecipe:
    """A recipe by name, or by a mapping of its name and the numbers that differ.

    Raises:
        ValueError: an unknown name or number, the nearest is proposed; a value out of range, named as ``recipe.blur``.

    >>> parse_recipe({"name": "photo", "blur": 0.0}) == VIEW_RECIPES["photo"]._replace(blur=0.0)
    True
    """
    if not isinstance(spec, str | Mapping):
        raise ValueError(f"`recipe` must be a name or a mapping with `name`; got {spec!r}")
    options = {"name": spec} if isinstance(spec, str) else dict(spec)
    name = options.pop("name", None)
    if name not in VIEW_RECIPES:
        hint = did_you_mean(str(name), VIEW_RECIPES)
        raise ValueError(f"unknown recipe {name!r}{hint}; there are: {', '.join(VIEW_RECIPES)}")
    for option in options:
        if option not in ViewRecipe._fields:
            hint = did_you_mean(str(option), ViewRecipe._fields)
            raise ValueError(f"recipe {name!r} has no option {option!r}{hint}; it has: {', '.join(ViewRecipe._fields)}")
    return VIEW_RECIPES[name]._replace(**{option: _checked(option, value) for option, value in options.items()})


def _checked(option: str, value: Any) -> Any:
    """A number within its limits, or two of them, the least first."""
    low, high, closed = _LIMITS.get(option, (0, 1, True))
    pair = isinstance(ViewRecipe._field_defaults[option], tuple)
    values = list(value) if pair and isinstance(value, list | tuple) else [value]
    numbers = all(isinstance(each, int | float) and not isinstance(each, bool) for each in values)
    if not numbers or len(values) != 1 + pair:
        raise ValueError(f"`recipe.{option}` must be {'two numbers' if pair else 'a number'}; got {value!r}")
    if not all((low <= each if closed else low < each) and each <= high for each in values):
        bounds = f"{low:g}" if closed else f"more than {low:g}"
        bounds += f" to {high:g}" if high < 1e6 else " or more" if closed else ""
        raise ValueError(f"`recipe.{option}` must be {bounds}; got {value!r}")
    if sorted(values) != values:
        raise ValueError(f"`recipe.{option}` must have the smaller number first; got {value!r}")
    return tuple(map(float, values)) if pair else float(value)


def default_recipe(input_shape: tuple[int, ...], mirrored: bool | None = None) -> str:
    """Name of the recipe for images of a shape (C, H, W).

    Args:
        input_shape: Shape of one image.
        mirrored: Whether a mirror image is still of the same class: not with writing. None is unknown, as if it were.
    """
    channels, *sides = input_shape
    if mirrored is False:
        return "handwriting" if channels == 1 else "mild"
    if channels != 3:
        return "grey"
    return "small" if min(sides) <= 64 else "photo"


def idle_colours(recipe: ViewRecipe, channels: int) -> str:
    """One line on what of a recipe does nothing with images of so many channels; "" where everything does something.

    Raises:
        ValueError: colours are asked for, but the channels are neither one grey nor three colours.
    """
    strengths = {
        "saturation": recipe.saturation * recipe.jitter,
        "hue": recipe.hue * recipe.jitter,
        "grey": recipe.grey,
    }
    wanted = [f"`recipe.{name}`" for name, value in strengths.items() if value]
    if channels == 3 or not wanted:
        return ""
    if channels != 1:
        raise ValueError(
            f"{' and '.join(wanted)}: images of {channels} channels have no red, green and blue; "
            "set to 0, or take the recipe 'grey'"
        )
    return f"images of one channel have no colours: {', '.join(wanted)} do nothing (the recipe 'grey' has none of them)"

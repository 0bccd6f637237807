import math

import pytest

from zoo.core.arguments import at_least, between, more_than


def test_within_range_is_silent():
    at_least(1, a=1, b=2.5)
    more_than(0, a=1e-9)
    between(0, 1, a=0, b=1)


@pytest.mark.parametrize("value", [0.5, math.nan])
def test_the_first_that_is_out_of_range_is_named(value):
    with pytest.raises(ValueError, match=f"b must be 1 or more; got {value}"):
        at_least(1, a=1, b=value, c=0)
    with pytest.raises(ValueError, match=f"b must be more than 0.5; got {value}"):
        more_than(0.5, a=1, b=value)
    with pytest.raises(ValueError, match=f"b must be 0.6 to 1; got {value}"):
        between(0.6, 1, a=1, b=value)

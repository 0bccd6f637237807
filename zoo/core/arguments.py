"""Arguments out of their range, refused by name."""


def at_least(least: float, **values: float) -> None:
    """Raise a ``ValueError`` that names the first value below ``least``, or that is no number."""
    for name, value in values.items():
        if not value >= least:
            raise ValueError(f"{name} must be {least:g} or more; got {value}")


def more_than(bound: float, **values: float) -> None:
    """The same for those that are not above ``bound``."""
    for name, value in values.items():
        if not value > bound:
            raise ValueError(f"{name} must be more than {bound:g}; got {value}")


def between(low: float, high: float, **values: float) -> None:
    """The same for those outside ``low`` to ``high``, both allowed."""
    for name, value in values.items():
        if not low <= value <= high:
            raise ValueError(f"{name} must be {low:g} to {high:g}; got {value}")

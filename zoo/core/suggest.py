"""Similar names for misspelled ones."""

import difflib
from collections.abc import Iterable


def closest(name: str, known: Iterable[str], n: int = 3) -> list[str]:
    """Up to ``n`` similar names, the most similar first.

    >>> closest("autoencodr", ["gan", "autoencoder"])
    ['autoencoder']
    """
    return difflib.get_close_matches(name, list(known), n=n)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint at the most similar name, to be appended to a message; "" where none is similar.

    >>> did_you_mean("cnov", ["conv", "mlp"])
    " (did you mean 'conv'?)"
    """
    match = closest(name, known, 1)
    return f" (did you mean {match[0]!r}?)" if match else ""

"""Mode collapse: noticing that a generator makes a few things only, or nothing that looks like the data."""

from collections.abc import Mapping

_LITTLE = 0.02  # precision or recall: hardly anything
_NARROW = 0.1  # diversity: of the data's variance
_FEW = 0.5  # of the data's classes, by effective number


def symptoms(found: Mapping[str, float]) -> list[str]:
    """What is wrong with samples of these scores (``callbacks.samples.metrics.scores``), in words; none if nothing is.

    Scores that were withheld are not asked. Precision and recall count only where held-out images
    (``precision_real``, ``recall_real``) do better.
    """
    words = []
    if found.get("spread", 1.0) < _FEW:
        words.append(f"few classes ({found['spread']:.0%} of the data's, by effective number)")
    if found["diversity"] < _NARROW:
        words.append(f"hardly any variety ({found['diversity']:.1%} of the data's variance)")
    for name, meaning in {"recall": "of the data is covered", "precision": "of the samples look like the data"}.items():
        if found.get(name, 1.0) < _LITTLE and found[f"{name}_real"] > 5 * _LITTLE:
            words.append(f"{found[name]:.1%} {meaning} ({name})")
    return words


class CollapseDetector:
    """Reports mode collapse once, as soon as it starts, and withdraws the warning when it is over.

    Samples that were never good may be of a generator that has not begun to learn: it is given time. Nor is it
    believed that samples were good before it has learned: noise has variety, too.
    """

    def __init__(self) -> None:
        self._was_good = self._reported = False

    def update(self, found: Mapping[str, float], patient: bool = True, learning: bool = True) -> str | None:
        """Take an evaluation's scores; the line that is due after them, or None.

        Args:
            found: Scores by name, see ``symptoms``.
            patient: Whether samples that were never good are not reported yet.
            learning: Whether there were steps enough for the samples to be the generator's doing; before, they are
                neither good nor bad.
        """
        if not learning:
            return None
        words = symptoms(found)
        if not words:
            was_reported, self._was_good, self._reported = self._reported, True, False
            return "the mode collapse is over: samples are as varied as they should be" if was_reported else None
        if self._reported or (patient and not self._was_good):
            return None
        self._reported = True
        return f"mode collapse: {'; '.join(words)}"

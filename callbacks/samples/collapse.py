"""Noticing that a generator makes a few things only, or nothing that looks like the data."""

from collections.abc import Mapping

_LITTLE = 0.02  # precision or recall: hardly anything
_NARROW = 0.1  # diversity: of the data's variance
_FEW = 0.5  # of the data's classes, by effective number


def symptoms(found: Mapping[str, float]) -> list[str]:
    """What is wrong with samples of these scores (``callbacks.samples.metrics.scores``), in words; none if nothing is.

    Precision and recall count only where held-out pictures (``precision_real``, ``recall_real``) do better.
    """
    said = []
    if found.get("spread", 1.0) < _FEW:
        said.append(f"few classes ({found['spread']:.0%} of the data's, by effective number)")
    if found["diversity"] < _NARROW:
        said.append(f"hardly any variety ({found['diversity']:.1%} of the data's variance)")
    for name, meaning in {"recall": "of the data is covered", "precision": "of the samples look like the data"}.items():
        if found[name] < _LITTLE and found[f"{name}_real"] > 5 * _LITTLE:
            said.append(f"{found[name]:.1%} {meaning} ({name})")
    return said


class Alarm:
    """Tells a collapse once, when it begins.

    What was never well may only not have begun to learn: it is given time.
    """

    def __init__(self) -> None:
        self._was_well = self._told = False

    def hear(self, found: Mapping[str, float], patient: bool = True) -> str | None:
        """The warning that is due after these scores.

        Args:
            found: see ``symptoms``.
            patient: say nothing yet of what was never well.
        """
        said = symptoms(found)
        if not said:
            self._was_well, self._told = True, False
            return None
        if self._told or (patient and not self._was_well):
            return None
        self._told = True
        return f"the samples have collapsed: {'; '.join(said)}"

"""The checkpoint to resume from."""

from lightning.pytorch.callbacks import ModelCheckpoint


class LastCheckpoint(ModelCheckpoint):
    """``last.ckpt`` after every validation, better or not.

    Lightning's own ``save_last`` writes it only together with a new best one: a run that stood still for ten epochs
    would be resumed ten epochs back.

    Args:
        dirpath: Path of the folder; None is ``checkpoints`` in the run's own.
    """

    def __init__(self, dirpath: str | None = None) -> None:
        super().__init__(dirpath, "last", enable_version_counter=False, auto_insert_metric_name=False)

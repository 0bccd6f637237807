"""Lightning without what is for its developers."""

import logging
import warnings

_NOT_FOR_USERS = (
    "does not have many workers",  # loaders give whole batches: workers would only slow them down
    "The number of training batches",
    "Checkpoint directory .* exists",
    "LightningCLI's args",  # they are sys.argv, spelled out
    "Starting from v1.9.0",  # the logger is chosen here
    "isinstance.treespec, LeafSpec",
    "Couldn't infer the batch indices",  # batches contain them
    "Total length of .* across ranks is zero",  # data of few labels have no validation
    "It is recommended to use .self.log",  # metrics are the same in all processes, or of each one's batches on purpose
    "Found .* in eval mode at the start of training",  # frozen modules are in eval mode on purpose
)


def quiet_lightning() -> None:
    """Silence Lightning's tips and device lines, which are for developers."""
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in _NOT_FOR_USERS:
        warnings.filterwarnings("ignore", f".*{message}")

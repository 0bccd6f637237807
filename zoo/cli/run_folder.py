"""The folder of a run: its number, its configuration, and the traceback of a failure."""

import json
import os
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import yaml
from lightning.pytorch.cli import LightningArgumentParser, SaveConfigCallback

from zoo.cli.shorthand import load
from zoo.core.atomic import atomic_write
from zoo.core.run_dir import run_dir
from zoo.registry import DATA_TO_MODEL_ARGS, FAILURE

RUN_DIR = "ZOO_RUN_DIR"  # passes the run's folder to the processes that DDP starts
_HEADER = "# What was set, and what else is not the default; every option is in config_full.yaml.\n"


def run_folder(parent: Path) -> Path:
    """Make the next free ``parent/<n>``; two runs started at once get two. DDP's later processes share the first's.

    Where torchrun or a cluster started them, those that are not the first on their machine make none.
    """
    if os.environ.get("LOCAL_RANK", "0") != "0":
        return Path(os.environ.get(RUN_DIR, parent))
    parent.mkdir(parents=True, exist_ok=True)
    number = max((int(path.name) for path in parent.iterdir() if path.name.isdigit()), default=0)
    while True:
        number += 1
        try:
            (parent / str(number)).mkdir()
        except FileExistsError:
            continue
        os.environ[RUN_DIR] = str(parent / str(number))
        return parent / str(number)


def forget_run_folder() -> None:
    """Let a new command have a new folder, unless it is one of DDP's later processes."""
    if os.environ.get("LOCAL_RANK", "0") == "0":
        os.environ.pop(RUN_DIR, None)


def keep_traceback() -> str:
    """Write the traceback into the run's folder, if that exists and is writable; a note that names the file, or ""."""
    folder = os.environ.get(RUN_DIR)
    if not folder:
        return ""
    with suppress(OSError):
        (Path(folder) / "error.log").write_text(traceback.format_exc())
        return f"  [details: {folder}/error.log]"
    return ""


def keep_failure(reason: str) -> None:
    """Let the run's folder, if there is one, say why it has no results, where no callback came to say it."""
    folder = os.environ.get(RUN_DIR)
    if folder and os.environ.get("LOCAL_RANK", "0") == "0":
        with suppress(Exception):  # the failure itself is what the user is to see
            load(FAILURE)(folder, reason)


class SaveConfig(SaveConfigCallback):
    """Two YAML files that both repeat the run: ``config.yaml``, options that are not the default, for people; and
    ``config_full.yaml``, every option, for a version with other defaults."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **{"save_to_log_dir": False, **options})
        self.folder = Path()

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self.folder = run_dir(trainer)  # here, since asking needs all ranks
        own = self.folder / "config.yaml"
        if not self.overwrite and not self.already_saved and trainer.is_global_zero and own.exists():
            raise FileExistsError(f"{own} is there already and is not overwritten: run in another folder")
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            for option, value in getattr(callback, "chosen_options", {}).items():
                self.config[option] = value  # what was chosen when the data were known
        super().setup(trainer, pl_module, stage)

    def save_config(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Write both files."""
        folder = Path(self.folder)
        # What the data usually give is an option all the same, where they do not.
        full = yaml.safe_load(self.parser.dump(self.config, skip_unset=False, skip_link_targets=False))
        _without_links(full, getattr(trainer, "datamodule", None))
        every = f"# {self.parser.dump_header[0]}\n" if self.parser.dump_header else ""
        every += yaml.safe_dump(full, sort_keys=False)
        atomic_write(folder / "config_full.yaml", lambda path: Path(path).write_text(every))
        short = {key: value for key, value in self._differences(full).items() if value != {}}
        text = _HEADER + yaml.safe_dump({"seed_everything": full["seed_everything"], **short}, sort_keys=False)
        atomic_write(folder / "config.yaml", lambda path: Path(path).write_text(text))

    def _differences(self, full: dict[str, Any]) -> dict[str, Any]:
        """Options that are not the default. jsonargparse's own ``skip_default`` takes False to equal the seed 0, and
        leaves parts out of a mapping that replaces another as a whole."""
        defaults = yaml.safe_load(self.parser.dump(self.parser.get_defaults(), skip_unset=False, skip_validation=True))
        found = {}
        for key, value in full.items():
            if isinstance(value, dict) and "class_path" in value:
                found[key] = _of_class(value)
            elif isinstance(value, dict):
                found[key] = _changed(value, defaults.get(key) or {})
            elif _plain(value) != _plain(defaults.get(key)):
                found[key] = value
        return found


def _without_links(config: dict[str, Any], data: Any) -> None:
    """Leave out the module's options whose values the data give, in place."""
    options = (config.get("model") or {}).get("init_args") or {}
    for name in [name for name in DATA_TO_MODEL_ARGS if name in options]:
        if options[name] is None or hasattr(data, name):
            del options[name]


def _of_class(spec: dict[str, Any]) -> dict[str, Any]:
    cls = load(spec["class_path"])
    if not isinstance(cls, type):  # a function that makes one
        return spec
    parser = LightningArgumentParser()
    parser.add_class_arguments(cls, "x", fail_untyped=False)
    defaults = yaml.safe_load(parser.dump(parser.get_defaults(), skip_unset=False, skip_validation=True)) or {}
    rest = {key: value for key, value in spec.items() if key != "init_args"}
    init_args = _changed(spec.get("init_args") or {}, defaults.get("x") or {})
    return {**rest, "init_args": init_args} if init_args else rest


def _changed(values: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value for name, value in values.items() if name not in defaults or _plain(value) != _plain(defaults[name])
    }


def _plain(value: Any) -> str:
    """Text that differs for 1, 1.0 and true."""
    return json.dumps(value, sort_keys=True, default=str)

"""Lightning's CLI with this project's defaults: a folder for each run, pictures, an export and a final table."""

import importlib
import json
import logging
import math
import os
import platform
import shlex
import sys
import time
import traceback
import warnings
from contextlib import nullcontext, suppress
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.plugins.io import CheckpointIO
from lightning.pytorch.profilers import Profiler
from rich.console import Console
from rich.table import Table

from zoo.cli.errors import explain, explain_usage
from zoo.cli.main import LINKED
from zoo.core.checkpoint import AtomicCheckpointIO, read_checkpoint
from zoo.core.gradient_free import GradientFreeModule
from zoo.io.encoder import save_encoder
from zoo.networks.encoder import Encoder
from zoo.registry import CALLBACKS, DATA, MODULES, short_name

_NOT_FOR_USERS = (
    "does not have many workers",  # batches are made whole: workers would only be in the way
    "The number of training batches",
    "Checkpoint directory .* exists",
    "LightningCLI's args",  # they are sys.argv, spelled out
    "Starting from v1.9.0",  # the logger is chosen here
    "isinstance.treespec, LeafSpec",
    "Couldn't infer the batch indices",  # batches bring them
    "Found .* in eval mode at the start of training",  # what is frozen is meant to be
    "The dirpath has changed",  # a resumed run has a folder of its own
)
RUN_DIR = "ZOO_RUN_DIR"  # tells the processes that DDP starts where the first one put the run


def _import(path: str) -> Any:
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


class ZooParser(LightningArgumentParser):
    """One line for a mistake, with the nearest option there is."""

    def error(self, message: str, ex: Exception | None = None) -> Any:
        """Print the line and exit with status 2."""
        options = [name for action in self._actions for name in (action.dest, *action.option_strings)]
        print(f"error: {explain_usage(message, options)}", file=sys.stderr)
        sys.exit(2)


class ZooCLI(LightningCLI):
    """``fit``, ``validate``, ``test`` and ``predict`` as Lightning documents them, for any module and datamodule.

    Added: a run's folder ``runs/<module>-<data>/<n>/``; checkpoints ``best`` and ``last``; the registry's callbacks;
    after ``fit`` a test of the best checkpoint, the exported encoder, and a table.
    """

    def init_parser(self, **kwargs: Any) -> LightningArgumentParser:
        kwargs.setdefault("dump_header", [f"lightning.pytorch=={pl.__version__}"])
        parser = ZooParser(**{"allow_abbrev": False, **kwargs})
        parser.add_argument("-c", "--config", action="config", help="A YAML file with any of these options.")
        return parser

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        for name, path in CALLBACKS.items():
            parser.add_lightning_class_args(_import(path), name)
        parser.add_lightning_class_args(ModelCheckpoint, "checkpoint")
        parser.set_defaults(
            {
                "checkpoint.filename": "best",
                "checkpoint.enable_version_counter": False,
                "checkpoint.auto_insert_metric_name": False,
            }
        )
        for name in LINKED:
            source, target = f"data.{name}", f"model.init_args.{name}"
            parser.link_arguments(source, target, partial(self._linked, name), apply_on="instantiate")

    def _linked(self, name: str, said: Any) -> Any:
        """What the data say, or, when predicting, what they said to the module that the checkpoint is of."""
        return self.remembered.get(name, said)

    def _parse_ckpt_path(self) -> None:
        """The checkpoint's hyperparameters are already among the arguments, before the user's: see ``expand_argv``."""

    def before_instantiate_classes(self) -> None:
        self.started = time.perf_counter()
        config = self.config[self.subcommand]
        paths = (config.model.class_path, config.data.class_path if config.get("data") else "none")
        self.names = short_name(paths[0], MODULES), short_name(paths[1], DATA)
        self.remembered: dict[str, Any] = {}
        if self.subcommand != "fit" and Path(config.ckpt_path or "").is_file():
            said = read_checkpoint(config.ckpt_path).get("hyper_parameters", {})
            self._scale_alike(config.get("data") or {}, said.get("normalisation"))
            self.remembered = said if self.subcommand == "predict" else {}
        model_class = _import(paths[0])
        if config.checkpoint.monitor is None and hasattr(model_class, "monitor"):
            config.checkpoint.monitor = model_class.monitor
            config.checkpoint.mode = model_class.monitor_mode

    @staticmethod
    def _scale_alike(data: Any, normalisation: dict[str, Any] | None) -> None:
        """Data that measure how to standardise themselves are to take what the module learned with, if not told."""
        options = data.get("init_args") or {}
        by_column = "std" in (normalisation or {})
        if by_column and "scale" in options and options["scale"] is None and options["standardise"]:
            options["scale"] = normalisation

    def instantiate_trainer(self, **kwargs: Any) -> pl.Trainer:
        config = self._get(self.config_init, "trainer", default={})
        if config.get("logger") is None and not config.get("fast_dev_run"):
            folder = run_folder(Path(config.get("default_root_dir") or "runs") / "-".join(self.names))
            kwargs["logger"] = CSVLogger(folder.parent.parent, folder.parent.name, folder.name)
        if config.get("enable_checkpointing") is False:
            self._parser(self.subcommand).callback_keys.remove("checkpoint")
        plugins = config.get("plugins") or []
        plugins = list(plugins) if isinstance(plugins, list | tuple) else [plugins]
        if not any(isinstance(plugin, CheckpointIO) for plugin in plugins):
            kwargs["plugins"] = [*plugins, AtomicCheckpointIO()]
        if config.get("profiler") is None:
            kwargs["profiler"] = NoProfiler()
        kwargs["callbacks"] = [*_as_list(config.get("callbacks")), *self._watchers(config)]
        return super().instantiate_trainer(**kwargs)

    def _watchers(self, config: dict[str, Any]) -> list[pl.Callback]:
        callbacks: list[pl.Callback] = [_import("callbacks.run.interrupt.Interrupt")(self._resume_hint())]
        own_bar = any(isinstance(c, pl.callbacks.ProgressBar) for c in _as_list(config.get("callbacks")))
        if config.get("enable_progress_bar") is not False and not own_bar:
            callbacks.append(_import("callbacks.run.progress.Progress")())
        if config.get("enable_checkpointing") is not False:
            folder = self._get(self.config, "checkpoint.dirpath")
            callbacks.append(_import("callbacks.run.last_checkpoint.LastCheckpoint")(folder))
        return callbacks

    def _resume_hint(self) -> str:
        folder = os.environ.get(RUN_DIR)
        prog = self.parser.prog
        return f"to go on: {prog} fit --config {folder}/config.yaml --ckpt_path {{path}}"

    def before_fit(self) -> None:
        """A line that says what begins."""
        count = sum(p.numel() for p in self.model.parameters() if p.requires_grad)
        learns = "no gradients" if isinstance(self.model, GradientFreeModule) else f"{count:,} parameters"
        self.folder = self._folder()
        self._say(f"{self.names[0]} on {self.names[1]}: {learns}, results in {self.folder}")

    def after_fit(self) -> None:
        """Test the best checkpoint, export the encoder, print the table."""
        best = self._best()
        metrics: dict[str, Any] = {}
        if self.datamodule is not None and not self.trainer.fast_dev_run:  # type: ignore[attr-defined]
            found = self.trainer.test(self.model, self.datamodule, ckpt_path=best or None, verbose=False)
            metrics = dict(found[0]) if found else {}
        if self.trainer.is_global_zero:
            self._finish(best, metrics)

    def _best(self) -> str:
        """The path of the best checkpoint; the option ``checkpoint``'s comes after all others."""
        return str(getattr([None, *self.trainer.checkpoint_callbacks][-1], "best_model_path", ""))

    def _finish(self, best: str, metrics: dict[str, Any]) -> None:
        folder = self.folder
        rows = [(name, f"{value:.5g}") for name, value in metrics.items()]
        if best:
            rows.append(("best checkpoint", os.path.relpath(best)))
        encoder = getattr(self.model, "encoder", None)
        if isinstance(encoder, Encoder) and encoder.spec is not None and folder and self.trainer.logger:
            save_encoder(encoder, folder / "encoder", self._provenance(best, metrics))
            rows.append(("encoder", f"{folder}/encoder/"))
        if callable(getattr(self.model, "save_vectors", None)) and folder and self.trainer.logger:
            rows.append(("vectors", f"{self.model.save_vectors(folder / 'vectors')}/"))
        pictures = sorted(path.name for kind in ("png", "gif") for path in folder.glob(f"*.{kind}")) if folder else []
        if pictures:
            rows.append(("pictures", "\n".join(f"{folder}/{name}" for name in pictures)))
        rows.append(("time", f"{time.perf_counter() - self.started:.0f} s"))
        table = Table("result", "", title=f"{self.names[0]} on {self.names[1]}", show_header=False)
        for row in rows:
            table.add_row(*row)
        Console(soft_wrap=True).print(table)
        if callable(getattr(self.model, "comparison", None)) and "test/score" in metrics:
            self._compare(self.model.comparison(metrics["test/score"]))

    @staticmethod
    def _compare(rows: list[Any]) -> None:
        """Networks beside one another: name, score, parameters, bytes, milliseconds."""
        table = Table("", "score", "parameters", "size", "latency (CPU)", title="teacher and student")
        for name, score, parameters, size, latency in rows:
            table.add_row(name, f"{score:.4f}", f"{parameters:,}", f"{size / 1000:,.0f} kB", f"{latency:.2f} ms")
        Console(soft_wrap=True).print(table)

    def before_predict(self) -> None:
        """Refuse data that are not what the module was trained on: it would predict nonsense without a word.

        Raises:
            ValueError: the inputs' shape or normalisation is another.
        """
        for name in ("input_shape", "normalisation"):
            trained, given = self.remembered.get(name), getattr(self.datamodule, name, None)
            if name in self.remembered and not _same(trained, given):
                raise ValueError(
                    f"the module was trained on data with {name} {trained}, these have {given}: "
                    "give the --data options (size, channels, normalise ...) that it was trained with"
                )

    def after_test(self) -> None:
        """Where the results are."""
        folder = self._folder()
        self._say(f"results in {folder}")

    def _provenance(self, best: str, metrics: dict[str, Any]) -> dict[str, Any]:
        config = self.config[self.subcommand]
        data = json.loads(json.dumps(config.data.as_dict(), default=str)) if config.get("data") else None
        versions = {"python": platform.python_version(), "torch": torch.__version__, "lightning": pl.__version__}
        return {
            "module": config.model.class_path,
            "data": data,
            "seed": config.seed_everything,
            "checkpoint": best,
            "epochs": self.trainer.current_epoch,
            "steps": self.trainer.global_step,
            "test": metrics,
            "command": f"{self.parser.prog} {shlex.join(sys.argv[1:])}",
            "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "versions": versions,
        }

    def _folder(self) -> Path:
        """Of this run; all ranks must ask together."""
        return Path(self.trainer.log_dir or self.trainer.default_root_dir)

    def _say(self, text: str) -> None:
        if self.trainer.is_global_zero:
            print(text, flush=True)


class NoProfiler(Profiler):
    """Measures nothing; Lightning's own such one makes some thirty generators a step to do so."""

    _nothing = nullcontext()

    def start(self, action_name: str) -> None:
        """Nothing."""

    def stop(self, action_name: str) -> None:
        """Nothing."""

    def profile(self, action_name: str) -> Any:
        """A context that does nothing."""
        return self._nothing


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [] if value is None else [value]


def _same(first: Any, second: Any) -> bool:
    """Whether two plain values are alike, numbers up to rounding."""
    if isinstance(first, dict) and isinstance(second, dict):
        return first.keys() == second.keys() and all(_same(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple) and isinstance(second, list | tuple):
        return len(first) == len(second) and all(map(_same, first, second))
    numbers = isinstance(first, int | float) and isinstance(second, int | float)
    return math.isclose(first, second, rel_tol=1e-4, abs_tol=1e-6) if numbers else first == second


def run_folder(parent: Path) -> Path:
    """Make the next free ``parent/<n>``; two runs started at once get two. DDP's later processes share the first's."""
    if RUN_DIR in os.environ and os.environ.get("LOCAL_RANK", "0") != "0":
        return Path(os.environ[RUN_DIR])
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


def print_options(prog: str, model: str, data: str) -> None:
    """The options of one module and one datamodule, as ``--module NAME --help`` shows them."""
    parser = LightningArgumentParser(prog=prog, usage=f"{prog} --module NAME [--data NAME] [options]")
    parser.add_class_arguments(_import(model), "module")
    parser.add_class_arguments(_import(data), "data")
    parser.epilog = f"More: {prog} fit --help (trainer, checkpoints, pictures)."
    parser.print_help()


def _keep_details() -> str:
    """Write the traceback into the run's folder, if there is one and it can be written; say where."""
    folder = os.environ.get(RUN_DIR)
    if not folder:
        return ""
    with suppress(OSError):
        (Path(folder) / "error.log").write_text(traceback.format_exc())
        return f"  [details: {folder}/error.log]"
    return ""


def _quiet() -> None:
    """Lightning's tips and device lines are for developers; what concerns the user is said by the run itself."""
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in _NOT_FOR_USERS:
        warnings.filterwarnings("ignore", f".*{message}")
    logging.basicConfig(format="%(levelname)s: %(message)s")


def run(arguments: list[str], prog: str) -> None:
    """Parse and run a spelled-out command line; failures that the user can mend end in one line and status 1."""
    _quiet()
    sys.path.insert(0, str(Path.cwd()))  # so that --model my_file.MyModule works, from the console script too
    os.environ.pop(RUN_DIR, None) if os.environ.get("LOCAL_RANK", "0") == "0" else None
    for path in [*(entry.path for entry in MODULES.values()), *(entry.path for entry in DATA.values())]:
        _import(path)  # jsonargparse knows a class by its bare name if it is imported
    try:
        ZooCLI(
            args=arguments,
            seed_everything_default=0,
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
            parser_kwargs={"prog": prog},
            trainer_defaults={"enable_model_summary": False},
        )
    except Exception as error:
        line = explain(error)
        if line is None:
            raise
        line += _keep_details()
        print(f"error: {line}", file=sys.stderr)
        sys.exit(1)

"""Lightning's CLI with this project's defaults: a folder for each run, figures, an export and a final table."""

import os
import re
import sys
from collections.abc import Collection
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import CSVLogger

from zoo.cli import result, summary
from zoo.cli.alike import fill_in, read_alike, same
from zoo.cli.clock import STARTED
from zoo.cli.config_files import chosen_class, technique_of, with_present_names
from zoo.cli.ending import ending_of, print_ending
from zoo.cli.errors import Flags, explain, translate_warnings
from zoo.cli.parser import ShortHelp, ZooParser
from zoo.cli.run_folder import SaveConfig, forget_run_folder, keep_failure, keep_traceback, run_folder
from zoo.cli.shorthand import load
from zoo.cli.trainer import NoProfiler, all_of, check_options, loggers, one_line_errors, plugins
from zoo.core import stop
from zoo.core.checkpoint import checkpoint_in, read_checkpoint
from zoo.core.counts import title_of
from zoo.core.network_size import check_network_size
from zoo.core.options import arguments_of
from zoo.core.quiet import quiet_lightning
from zoo.core.run_dir import run_dir
from zoo.registry import CHECKPOINT, DATA, DATA_TO_MODEL_ARGS, MODULES, callback_groups, short_name


class ZooCLI(LightningCLI):
    """``fit``, ``validate``, ``test`` and ``predict`` as Lightning documents them, for any module and datamodule.

    Added: a run's folder ``runs/<module>-<data>/<n>/``; checkpoints ``best`` and ``last``; the registry's callbacks;
    after ``fit`` a test of the best checkpoint, the exported encoder, and a table.

    Args:
        groups: Callbacks of the run, by the name of their options, with their import paths.
        flags: Flags as the user types them, for advice; None leaves it as modules write it.
        options: Options of ``LightningCLI``.
    """

    def __init__(self, groups: dict[str, str], flags: Flags | None = None, **options: Any) -> None:
        self.groups, self.flags = groups, flags
        self._first_word = next(iter(options.get("args") or ()), "")
        super().__init__(**options)

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]  # Lightning asks the object, not the class
        """The command that is run alone, of Lightning's four: making a parser takes a tenth of a second."""
        every = LightningCLI.subcommands()
        return {self._first_word: every[self._first_word]} if self._first_word in every else every

    def init_parser(self, **kwargs: Any) -> LightningArgumentParser:
        kwargs.setdefault("dump_header", [f"lightning.pytorch=={pl.__version__}"])
        parser = ZooParser(**{"allow_abbrev": False, "formatter_class": ShortHelp, **kwargs})
        parser.add_argument("-c", "--config", action="config", help="A YAML file with any of these options.")
        return parser

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        for name, path in self.groups.items():
            parser.add_lightning_class_args(load(path), name)
        parser.add_lightning_class_args(load(CHECKPOINT), "checkpoint")
        parser.set_defaults(
            {
                "checkpoint.filename": "best",
                "checkpoint.enable_version_counter": False,
                "checkpoint.auto_insert_metric_name": False,
            }
        )
        for name in DATA_TO_MODEL_ARGS:
            source, target = f"data.{name}", f"model.init_args.{name}"
            parser.link_arguments(source, target, partial(self._linked, name), apply_on="instantiate")

    def _linked(self, name: str, said: Any) -> Any:
        """The data's value, or, when predicting, that of the checkpoint's module."""
        return self.remembered.get(name, said)

    def _parse_ckpt_path(self) -> None:
        """The checkpoint's hyperparameters are already among the arguments, before the user's: see ``expand_argv``."""

    def before_instantiate_classes(self) -> None:
        config = self.config[self.subcommand]
        if self.subcommand == "test":
            config.verbose = False  # the answer holds the metrics, each with what it is compared with
        check_options(config.trainer)
        if self.subcommand != "fit" and not config.ckpt_path:
            raise ValueError(f"{self.subcommand} needs a trained network: --ckpt_path, a checkpoint or a run's folder")
        if config.ckpt_path and Path(config.ckpt_path).is_dir():  # of a YAML file
            config.ckpt_path = str(checkpoint_in(config.ckpt_path, resume=self.subcommand == "fit"))
        paths = (config.model.class_path, config.data.class_path if config.get("data") else "none")
        self.names = short_name(paths[0], MODULES), short_name(paths[1], DATA)
        self.remembered: dict[str, Any] = {}
        self.data_state: dict[str, Any] | None = None
        if Path(config.ckpt_path or "").is_file():
            checkpoint = read_checkpoint(config.ckpt_path)
            self.data_state = checkpoint.get(paths[1].rpartition(".")[2])
            said = checkpoint.get("hyper_parameters", {})
            read_alike(config.get("data") or {}, said.get("normalisation") or {}, checkpoint)
            check_network_size(config.ckpt_path, checkpoint, load(paths[0]))
            self.remembered = said if self.subcommand == "predict" else {}
            fill_in(config.model, said)
        model_class = load(paths[0])
        if config.checkpoint.monitor is None and hasattr(model_class, "monitor"):
            config.checkpoint.monitor = model_class.monitor
            config.checkpoint.mode = model_class.monitor_mode

    def instantiate_classes(self) -> None:
        """Make trainer, module and data; these have their state of the checkpoint before they read anything."""
        super().instantiate_classes()
        if self.data_state and self.datamodule is not None:
            self.datamodule.load_state_dict(self.data_state)

    def instantiate_trainer(self, **kwargs: Any) -> pl.Trainer:
        config = self._get(self.config_init, "trainer", default={})
        own_folder = [each for each in all_of(config.get("logger")) if isinstance(each, CSVLogger)]
        if not own_folder and not config.get("fast_dev_run"):
            kwargs |= loggers(config.get("logger"), self._new_folder(config))
        if config.get("profiler") is None:
            kwargs["profiler"] = NoProfiler()
        kwargs["plugins"] = plugins(config.get("plugins"))
        self.final = result.FinalWeights()
        kwargs["callbacks"] = [self.final, *all_of(config.get("callbacks")), *self._watchers(config)]
        if config.get("enable_checkpointing") is False:
            self._parser(self.subcommand).callback_keys.remove("checkpoint")
        else:  # after the best one, whose state it saves
            last = load("callbacks.run.last_checkpoint.LastCheckpoint")(self._get(self.config, "checkpoint.dirpath"))
            self.trainer_defaults = {**self.trainer_defaults, "callbacks": [last]}
        return self._with_length(config, kwargs)

    def _with_length(self, config: dict[str, Any], options: dict[str, Any]) -> pl.Trainer:
        """The trainer; where no length is given a callback sets it when the data are known."""
        given = config.get("max_epochs") is not None or config.get("max_steps", -1) != -1 or config.get("max_time")
        with one_line_errors():
            trainer = super().instantiate_trainer(**(options if given else {**options, "max_epochs": 1}))
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if hasattr(callback, "chosen_options"):
                callback.given = bool(given)
        return trainer

    def _new_folder(self, config: dict[str, Any]) -> Path:
        """Of a training ``runs/<module>-<data>/<n>``; of other commands ``runs/<module>-<data>/predict/<n>``."""
        folder = Path(config.get("default_root_dir") or "runs") / "-".join(self.names)
        return run_folder(folder if self.subcommand == "fit" else folder / str(self.subcommand))

    def _watchers(self, config: dict[str, Any]) -> list[pl.Callback]:
        hint = f"to go on: {self.parser.prog} fit --config {{folder}}/config.yaml --ckpt_path {{path}}"
        callbacks: list[pl.Callback] = [load("callbacks.run.interrupt.Interrupt")(hint)]
        callbacks.append(load("callbacks.run.resumed.ResumedOptions")())
        own_bar = any(isinstance(c, pl.callbacks.ProgressBar) for c in all_of(config.get("callbacks")))
        if config.get("enable_progress_bar") is not False and not own_bar:
            callbacks.append(load("callbacks.run.progress.Progress")())
        return callbacks

    def before_fit(self) -> None:
        """Print the line that announces the run."""
        self.folder = self._folder()
        self._tell_report()
        title = f"{' on '.join(self.names)}: {summary.training_summary(self.model)}"
        tries = self.trainer.fast_dev_run  # type: ignore[attr-defined]
        self._say(title if tries else f"{title}, results in {self.folder}")

    def after_fit(self) -> None:
        """Test the best checkpoint, export the results, print the table."""
        if self.trainer.fast_dev_run:  # type: ignore[attr-defined]
            self._say("all parts of a run work; nothing was written")
            return
        best = result.settle(self.trainer, self.model, self.datamodule, self.final)
        metrics = result.test(self.trainer, self.model, self.datamodule)
        for callback in self.trainer.callbacks:  # type: ignore[attr-defined]
            metrics |= getattr(callback, "results", {})  # what was measured otherwise than by the test
        if self.trainer.is_global_zero:
            self._finish(best, metrics)

    def _finish(self, best: str, metrics: dict[str, Any]) -> None:
        relative = os.path.relpath(best) if best else ""
        saved = [best if relative.startswith("..") else relative] if best else []
        config = self.config[self.subcommand]
        origin = summary.provenance(config, self.trainer, self.parser.prog, best, metrics)
        saved += [path for _, path in summary.export(self.model, self.folder, origin)]
        self._conclude(saved)

    def _conclude(self, saved: list[str]) -> None:
        """Print the answer and what to do with it."""
        page = self.folder / "report.html"
        rows = [("saved", ", ".join(saved)), ("open", str(page) if page.is_file() else ""), ("next", self._next())]
        title = title_of(self.model, self.datamodule)
        ending = ending_of(self.trainer, self.model, title, [row for row in rows if row[1]])
        advice = self.flags.translate(ending.answer.advice) if self.flags else ending.answer.advice
        print_ending(ending._replace(answer=ending.answer._replace(advice=advice)))

    def _next(self) -> str:
        """The command to type next."""
        technique = technique_of(type(self.model))
        if technique is None or not technique.next_step or self.trainer.logger is None:
            return ""
        step, run = technique.next_step, self.folder
        if self.subcommand != "fit":
            tested = Path(self.config[self.subcommand].ckpt_path)
            run = tested.parents[1] if tested.parent.name == "checkpoints" else tested
            step = step if run != tested else re.sub(r"(?<={run})/\S+", "", step)  # a file that lies elsewhere
        return f"{self.parser.prog} {step.format(run=run)}"

    def _tell_report(self) -> None:
        """Tell the report what only the command line knows."""
        for callback in self.trainer.callbacks:  # type: ignore[attr-defined]
            if hasattr(callback, "next_command"):
                callback.next_command, callback.started = self._next(), STARTED

    def before_predict(self) -> None:
        """Refuse data unlike the module's training data, for which it would predict nonsense without an error.

        Raises:
            ValueError: the inputs' shape or normalisation differs.
        """
        for name in ("input_shape", "normalisation"):
            trained, given = self.remembered.get(name), getattr(self.datamodule, name, None)
            unsaid = name == "input_shape" and given is None  # data of the user's, which need not say it
            if name in self.remembered and not unsaid and not same(trained, given):
                raise ValueError(
                    f"the module was trained on data with {name} {trained}, these have {given}: "
                    "give the --data options (size, channels, normalise ...) that it was trained with"
                )

    def after_test(self) -> None:
        """Print the answer, as after ``fit``."""
        if self.trainer.is_global_zero and not self.trainer.fast_dev_run:  # type: ignore[attr-defined]
            self._conclude([])

    def before_test(self) -> None:
        """Ask for the folder on all ranks."""
        self.folder = self._folder()
        self._tell_report()

    def _folder(self) -> Path:
        """Folder of this run, a collective call."""
        return run_dir(self.trainer)

    def _say(self, text: str) -> None:
        if self.trainer.is_global_zero:
            print(text, flush=True)


def _owners(groups: dict[str, str]) -> dict[str, Collection[str]]:
    """Options of each owner beside the module; () for data that are not known yet, which may have any."""
    callbacks = {name: arguments_of(load(path)) for name, path in groups.items()}
    return {"data": (), "trainer": arguments_of(pl.Trainer), "checkpoint": arguments_of(load(CHECKPOINT)), **callbacks}


def run(arguments: list[str], prog: str, module_flag: str = "--model") -> None:
    """Parse and run a spelled-out command line; errors that the user can fix end in one line and status 1.

    Args:
        arguments: Arguments for Lightning's CLI.
        prog: Name of the program, as the user typed it.
        module_flag: Flag that the user typed for the module, ``--module`` or ``--model``.
    """
    quiet_lightning()
    forget_run_folder()
    for path in [*(entry.path for entry in MODULES.values()), *(entry.path for entry in DATA.values())]:
        load(path)  # jsonargparse finds a class by its bare name if it is imported
    model = chosen_class(arguments, "model")
    groups = callback_groups(technique_of(model))
    flags = Flags(module_flag, arguments_of(model) if model else (), _owners(groups))
    translate_warnings(flags)
    try:
        ZooCLI(
            groups,
            flags,
            args=with_present_names(arguments, groups),
            save_config_callback=SaveConfig,
            seed_everything_default=0,
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
            parser_kwargs={"prog": prog},
            trainer_defaults={"enable_model_summary": False},
        )
    except (Exception, KeyboardInterrupt) as error:
        line = explain(error)
        reason = f"stopped: {flags.translate(line or repr(error))}"
        keep_failure("interrupted" if stop.received() else reason)
        if line is None or stop.received():
            raise
        print(f"error: {flags.translate(line)}{keep_traceback()}", file=sys.stderr)
        sys.exit(1)

"""The options of one module and its data, as ``--module NAME --help`` shows them."""

from lightning.pytorch.cli import LightningArgumentParser

from zoo.cli.config_files import technique_of
from zoo.cli.shorthand import load


def print_options(prog: str, model: str, data: str) -> None:
    """The options of one module, its own callbacks, and one datamodule, as ``--module NAME --help`` shows them."""
    parser = LightningArgumentParser(prog=prog, usage=f"{prog} --module NAME [--data NAME] [options]")
    parser.add_class_arguments(load(model), "module")
    parser.add_class_arguments(load(data), "data")
    technique = technique_of(load(model))
    for name, path in (technique.callbacks if technique else {}).items():
        parser.add_class_arguments(load(path), name)
    parser.epilog = f"More: {prog} fit --help (trainer, checkpoints, figures)."
    parser.print_help()

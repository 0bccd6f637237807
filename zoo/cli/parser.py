"""The parser of Lightning's CLI: errors of one line, help without lists of classes, networks by their class."""

import argparse
import re
import sys
from typing import Any

from jsonargparse import DefaultHelpFormatter, Namespace
from lightning.pytorch.cli import LightningArgumentParser, instantiate_class
from torch import nn

from zoo.cli.errors import explain_usage
from zoo.cli.shorthand import load


class ShortHelp(DefaultHelpFormatter):
    """Leaves out lists of the classes that happen to be imported, hundreds of torch's, and options named twice."""

    def _format_usage(self, usage: Any, actions: Any, groups: Any, prefix: str | None) -> str:
        if prefix == "":  # argparse asks what a subcommand's usage begins with
            return self._prog
        return (
            f"usage: {self._prog} --module NAME [--data NAME] [options]\n\n"
            f"  {self._prog} --module NAME --help lists the options of one technique alone\n\n"
        )

    def _expand_help(self, action: argparse.Action) -> str:
        return re.sub(r",? known subclasses: [\w., ]+", "", super()._expand_help(action)).replace(" ()", "")


class ZooParser(LightningArgumentParser):
    """Reports an error in one line, with the nearest known option."""

    def error(self, message: str, ex: Exception | None = None) -> Any:
        """Print the line and exit with status 2."""
        options = [name for action in self._actions for name in (action.dest, *action.option_strings)]
        print(f"error: {explain_usage(message, options)}", file=sys.stderr)
        sys.exit(2)

    def instantiate_classes(self, cfg: Namespace, **options: Any) -> Namespace:
        """Objects in place of their configurations, networks that are named by ``class_path`` among them."""
        cfg = cfg.clone()
        for key, value in list(cfg.items()):
            if isinstance(value, dict) and set(value) <= {"class_path", "init_args"} and _is_network(value):
                cfg[key] = instantiate_class((), value)
        return super().instantiate_classes(cfg, **options)


def _is_network(spec: dict[str, Any]) -> bool:
    cls = load(spec["class_path"]) if "class_path" in spec else None
    return isinstance(cls, type) and issubclass(cls, nn.Module)

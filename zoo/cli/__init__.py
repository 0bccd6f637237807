"""The command line; the console script ``zoo`` is its ``main``."""

from zoo.cli.main import main as main

"""A technique that is no part of the zoo: it is added by its registry entry alone."""

from zoo.registry import MODULES, Technique

NAME = "linear"
ENTRY = Technique("example_technique.module.LinearAutoencoderModule", "digits", "linear autoencoder with tied weights")


def register() -> None:
    """Add the entry to the registry of this process."""
    MODULES[NAME] = ENTRY

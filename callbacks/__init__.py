"""Callbacks, by what they look at; a project's own folder of this name belongs to the package, too."""

from pkgutil import extend_path

__path__ = extend_path(__path__, __name__)

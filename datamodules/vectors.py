"""The old place of ``datamodules.tabular``, under which YAML files know it; for one release."""

from datamodules.tabular import Vectors as Vectors

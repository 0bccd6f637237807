"""The old place of ``datamodules.mnist_m``, under which YAML files know it; for one release."""

from datamodules.mnist_m import MNISTM as MNISTM
from datamodules.mnist_m import DigitsM as DigitsM

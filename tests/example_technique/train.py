"""The project's ``train.py`` with the example in the registry."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from example_technique import register
from zoo.cli import main

register()

if __name__ == "__main__":
    main()

"""Startup time: ``import zoo`` and ``--help`` compared with ``import lightning.pytorch``.

    python benchmarks/startup.py

Each in a process of its own, taking turns.
"""

import argparse
import subprocess
import sys
from pathlib import Path

from timing import header, interleaved

ROOT = Path(__file__).parents[1]
COMMANDS = {
    "import lightning.pytorch": ["-c", "import lightning.pytorch"],
    "import zoo": ["-c", "import zoo"],
    "from zoo import AutoencoderModule": ["-c", "from zoo import AutoencoderModule"],
    "train.py --help": ["train.py", "--help"],
    "train.py list": ["train.py", "list"],
    "train.py --module autoencoder --help": ["train.py", "--module", "autoencoder", "--help"],
    "train.py fit --help": ["train.py", "fit", "--help"],
}


def main() -> None:
    """Print seconds and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()

    def runner(arguments: list[str]) -> None:
        subprocess.run([sys.executable, *arguments], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)

    seconds = interleaved({name: lambda a=a: runner(a) for name, a in COMMANDS.items()}, options.rounds)  # type: ignore[misc]
    print(header(), f"median of {options.rounds} rounds")
    for name, value in seconds.items():
        print(f"{name:<38} {value:6.2f} s   {value / seconds['import lightning.pytorch']:5.2f} times")


if __name__ == "__main__":
    main()

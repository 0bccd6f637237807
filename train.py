"""The front door: ``python train.py --module autoencoder``, ``python train.py list``, ``python train.py --help``."""

from zoo.cli import main

if __name__ == "__main__":
    main()

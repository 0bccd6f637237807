"""Randomness as a function of where one is, not of what happened before."""

import torch


def seed_generator(device: torch.device, *place: int) -> None:
    """Seed the device's default generator from a few whole numbers; the host waits for nothing."""
    cuda = device.type == "cuda"
    generator = torch.cuda.default_generators[device.index or 0] if cuda else torch.default_generator
    generator.manual_seed(hash(place) % 2**63)

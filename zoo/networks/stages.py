"""Stages of a network from input to output, for layer-wise learning rates and freezing by depth."""

from torch import nn

_MOST = 0.8  # of all parameters: a part that has more is the network itself with something around it


def _size(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def stages(network: nn.Module) -> list[nn.Module]:
    """The parts with parameters that follow one another, in the order in which they were registered.

    A part that is nearly all of the network, and has three stages or more itself, is split in its turn: a
    transformer's blocks are stages, and so are the four groups of a ResNet.
    """
    parts = [child for child in network.children() if _size(child)]
    if not parts:
        return [network]
    if len(parts) == 1:
        return stages(parts[0])
    whole = _size(network)
    return [stage for part in parts for stage in (stages(part) if _is_core(part, whole) else [part])]


def _is_core(part: nn.Module, whole: int) -> bool:
    return _size(part) > _MOST * whole and len(stages(part)) >= 3


def staged_parameters(network: nn.Module) -> list[list[nn.Parameter]]:
    """Trainable parameters of each stage; those of none, such as position embeddings, belong to the first."""
    groups = [[p for p in stage.parameters() if p.requires_grad] for stage in stages(network)]
    held = {id(p) for stage in stages(network) for p in stage.parameters()}
    loose = [p for p in network.parameters() if id(p) not in held and p.requires_grad]
    return [loose + groups[0], *groups[1:]]


def batch_norms(network: nn.Module) -> list[nn.Module]:
    """All layers that keep running statistics."""
    return [layer for layer in network.modules() if isinstance(layer, nn.modules.batchnorm._NormBase)]

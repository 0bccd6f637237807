import pytest
import torch
from torch import nn

from zoo.networks.layers import Connector, find_layers, layer_outputs, layer_shapes


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 5))


def test_outputs_are_those_of_the_layers_one_by_one():
    model, x = network(), torch.randn(3, 1, 8, 8)
    with layer_outputs(model.eval(), ["0", "3"]) as found:
        output = model(x)
    maps = model[0](x)
    assert torch.equal(found["0"], maps) and torch.equal(found["3"], model[2](model[1](maps)).flatten(1))
    assert torch.equal(output, model(x))
    assert not any(layer._forward_hooks for layer in model.modules())


def test_gradients_reach_the_layers():
    model = network()
    with layer_outputs(model, ["0"]) as found:
        model(torch.randn(3, 1, 8, 8))
    found["0"].sum().backward()
    assert model[0].weight.grad is not None and model[4].weight.grad is None


def test_shapes_leave_the_network_as_it_was():
    model = network().train()
    model[1].eval()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    assert layer_shapes(model, (1, 8, 8), ["1", "4"]) == {"1": (4, 6, 6), "4": (5,)}
    assert model.training and not model[1].training and model[4].training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_wrong_name_lists_the_layers():
    with pytest.raises(
        ValueError, match=r"the teacher has no layer '14' \(did you mean '4'\?\); there are: 0, 1, 2, 3"
    ):
        find_layers(network(), ["14"], "teacher")


def test_a_layer_that_is_passed_by_is_named():
    model = network()
    model.unused = nn.Linear(1, 1)
    model.forward = lambda x: model[0](x)
    gives_none = pytest.raises(ValueError, match="'unused' of the network gives no tensor")
    with gives_none, layer_outputs(model, ["unused"]):
        model(torch.zeros(1, 1, 8, 8))
    assert not model.unused._forward_hooks


@pytest.mark.parametrize(
    "student, teacher",
    [
        ((4, 8, 8), (6, 4, 4)),
        ((4, 4, 4), (6, 8, 8)),
        ((4, 4, 4), (4, 8, 8)),
        ((5,), (7,)),
        ((4, 3, 3), (7,)),
        ((6, 2), (3, 3)),
    ],
)
def test_connectors_give_the_teachers_shape(student, teacher):
    connector = Connector(student, teacher)
    x = torch.randn(2, *student, requires_grad=True)
    output = connector(x)
    assert output.shape == (2, *teacher)
    output.sum().backward()
    assert x.grad.abs().sum() > 0


def test_of_equal_widths_nothing_is_learned():
    for shape in ((4, 5, 5), (7,)):
        connector, x = Connector(shape, shape), torch.randn(2, *shape)
        assert not list(connector.parameters()) and torch.equal(connector(x), x)


def test_a_vector_is_no_map():
    with pytest.raises(ValueError, match=r"\(4, 2, 2\) needs one of the student that gives maps, too, and not \(9,\)"):
        Connector((9,), (4, 2, 2))

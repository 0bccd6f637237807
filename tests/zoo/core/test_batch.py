import pytest
import torch

from zoo.core.batch import as_mapping, require

X, Y = torch.zeros(2, 3), torch.zeros(2)


@pytest.mark.parametrize("batch, keys", [(X, ["input"]), ((X,), ["input"]), ([X, Y], ["input", "label"])])
def test_other_loaders_batches_become_mappings(batch, keys):
    mapping = as_mapping(batch)
    assert list(mapping) == keys and mapping["input"] is X


def test_a_mapping_is_taken_as_it_is():
    batch = {"tokens": X}
    assert as_mapping(batch) is batch


@pytest.mark.parametrize("batch", [(X, Y, Y), 3, ()])
def test_anything_else_is_refused(batch):
    with pytest.raises(ValueError, match=type(batch).__name__):
        as_mapping(batch)


def test_a_missing_key_is_named_with_those_there():
    with pytest.raises(ValueError, match=r"int needs 'views' .* only: 'input', 'label'"):
        require({"input": X, "label": Y}, "views", 3)

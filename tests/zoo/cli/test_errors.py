import pytest

from zoo.cli.errors import explain, explain_usage

OPTIONS = ["--trainer.max_epochs", "latent_dim", "lr"]

UNION = """Parser key "trainer.max_epochs":
  Does not validate against any of the Union subtypes
  Subtypes: [<class 'int'>, <class 'NoneType'>]
  Errors:
    - Expected a <class 'int'>
    - Expected a <class 'NoneType'>
  Given value type: <class 'str'>
  Given value: x"""
LITERAL = """Parser key "variant":
  Expected a typing.Literal['plain', 'vae']. Got value: vea"""


@pytest.mark.parametrize(
    "message, line",
    [
        ("Option 'latentdim' is not accepted", "unknown option 'latentdim' (did you mean 'latent_dim'?)"),
        ("unrecognized arguments: --trainer.max_epoch=3", "unknown option '--trainer.max_epoch' (did you mean"),
        ("the following arguments are required: fit.model", "an option is missing: model"),
        (UNION, "trainer.max_epochs: expected: int; got 'x'"),
        (LITERAL, "variant: one of 'plain', 'vae' is expected; got 'vea'"),
        ("something else entirely", "something else entirely"),
    ],
)
def test_usage_in_one_line(message, line):
    assert explain_usage(message, OPTIONS).startswith(line) and "\n" not in explain_usage(message, OPTIONS)


@pytest.mark.parametrize(
    "error, line",
    [
        (ValueError("two\nlines"), "two lines"),
        (FileNotFoundError("no folder x"), "no folder x"),
        (RuntimeError("Error(s) in loading state_dict for A:\n\tsize mismatch"), "the checkpoint does not fit"),
        (RuntimeError("CUDA out of memory. Tried ..."), "out of memory: try a smaller"),
        (ValueError("Caught ValueError in DataLoader worker process 0.\n  File x\nValueError: bad file"), "bad file"),
    ],
)
def test_failures_that_the_user_can_mend(error, line):
    assert explain(error).startswith(line)


def test_defects_keep_their_traceback():
    assert explain(RuntimeError("mat1 and mat2 shapes cannot be multiplied")) is None
    assert explain(TypeError("x")) is None

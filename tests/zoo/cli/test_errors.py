import logging

import pytest

from zoo.cli.errors import FlagFilter, Flags, explain, explain_usage
from zoo.core.options import arguments_of
from zoo.modules.pca import PCAModule

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
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to ..."), "out of memory: try a smaller"),
        (MemoryError("Unable to allocate 1.00 TiB"), "out of memory: try a smaller"),
        (ValueError("Caught ValueError in DataLoader worker process 0.\n  File x\nValueError: bad file"), "bad file"),
    ],
)
def test_failures_that_the_user_can_mend(error, line):
    assert explain(error).startswith(line)


def test_defects_keep_their_traceback():
    assert explain(RuntimeError("mat1 and mat2 shapes cannot be multiplied")) is None
    assert explain(TypeError("x")) is None


@pytest.mark.parametrize("module", ["--module", "--model"])
def test_arguments_become_flags_in_the_spelling_that_was_typed(module):
    flags = Flags(module, {"lr", "optimizer"}, {"data": (), "trainer": {"precision"}, "generation": {"k"}})
    text = "a lower `lr`, `model.x`, `module.y.z`, `optimizer.betas`, `trainer.precision` 32-true, or `generation.k`"
    for name in ("trainer.precision", "generation.k"):
        assert f"--{name}" in flags.translate(text)
    for name in ("lr", "x", "y.z", "optimizer.betas"):
        assert f"{module}.{name}" in flags.translate(text)
    assert "`" not in flags.translate(text)


def test_other_words_in_backquotes_stay():
    flags = Flags("--module", {"lr"}, {"trainer": {"precision"}})
    text = "`trainer.fit`, `trainer`, `rate`, `data`, `other.lr`, `two words`, `lr=3`, `` and `"
    assert flags.translate(text) == text


def test_what_is_logged_has_flags():
    record = logging.LogRecord("x", logging.WARNING, "f", 1, "no `%s` PATH: %d", ("backbone", 3), None)
    assert FlagFilter(Flags("--model", {"backbone"})).filter(record)
    assert record.getMessage() == "no --model.backbone PATH: 3"


def test_a_wrong_call_of_a_logger_does_not_stop_the_run():
    record = logging.LogRecord("x", logging.WARNING, "x.py", 1, "%d items of `lr`", ("no number",), None)
    assert FlagFilter(Flags("--module", ["lr"])).filter(record) and record.msg == "%d items of `lr`"


def test_arguments_of_a_class_and_its_parents():
    class Mine(PCAModule):
        def __init__(self, own: int = 3, **options):
            super().__init__(**options)

    assert {"own", "n_components"} <= arguments_of(Mine)
    assert "self" not in arguments_of(Mine)


LOUD = """
import logging, warnings
from zoo.modules.autoencoder import AutoencoderModule
class Loud(AutoencoderModule):
    def on_fit_start(self):
        logging.getLogger("zoo.x").warning("logged: `%s`", "lr")
        warnings.warn("warned: `data.flip`")
        raise ValueError("failed: `lr`, `trainer.max_epochs` or `this`")
"""


@pytest.mark.parametrize("words, flag", [(["--module"], "--module.lr"), (["fit", "--model"], "--model.lr")])
def test_messages_warnings_and_failures_name_flags(train, tmp_path, words, flag):
    (tmp_path / "mine.py").write_text(LOUD)
    done = train(*words, "mine.Loud", "--data", "digits", "--trainer.max_epochs=1")
    assert done.returncode == 1
    assert f"WARNING: logged: {flag}\n" in done.stderr and "warned: --data.flip\n" in done.stderr
    assert f"error: failed: {flag}, --trainer.max_epochs or `this`" in done.stderr

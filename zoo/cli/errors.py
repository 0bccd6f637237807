"""Failures and mistakes as one line each."""

import re
from collections.abc import Sequence

from lightning.pytorch.utilities.exceptions import MisconfigurationException

from zoo.cli.main import nearest


def explain_usage(message: str, options: Sequence[str]) -> str:
    """jsonargparse's explanation, which may be long and nested, as one line.

    Args:
        message: what it said.
        options: of the parser that said it.
    """
    if unknown := re.match(r"Option '(.+?)' is not accepted|unrecognized arguments: ([^ =]+)", message):
        name = unknown.group(1) or unknown.group(2)
        return f"unknown option {name!r}{nearest(name, options)}"
    if missing := re.match(r"the following arguments are required: (.+)", message):
        return f"an option is missing: {missing.group(1).removeprefix('fit.')}"
    key = re.match(r"Parser key \"(.+?)\":", message)
    value = re.findall(r"(?:Got|Given) value: (.+)", message)
    where = f"{key.group(1)}: " if key else ""
    return where + innermost(message) + (f"; got {value[-1]!r}" if value and key else "")


def innermost(message: str) -> str:
    """The reasons within "does not validate against any of the Union subtypes": what they say, without the types."""
    lines = [line.strip(" -") for line in message.splitlines()[1:] or [message]]
    noise = (
        "Does not validate",
        "Subtypes:",
        "Errors:",
        "Given value",
        "Expected a <class 'NoneType'>",
        "Expected a path",
    )
    reasons = [line.partition(". Got value")[0] for line in lines if line and not line.startswith(noise)]
    text = re.sub(r'^Parser key "\w+": ', "", " ".join(reasons) or " ".join(message.split()))
    text = re.sub(r"<class '(?:[\w.]*\.)?(\w+)'>", r"\1", text)
    return re.sub(r"Expected a typing\.Literal\[(.+?)\]", r"one of \1 is expected", text).replace(
        "Expected a ", "expected: "
    )


def explain(error: BaseException) -> str | None:
    """One line for a failure that the user can mend; None for one that is a defect and deserves its traceback."""
    text = " ".join(str(error).split())
    if "Union subtypes" in text:
        text = innermost(str(error))
    elif "in DataLoader worker process" in text:  # a traceback as text, whose last line is the error
        text = str(error).rstrip().splitlines()[-1].partition("Error: ")[2]
    if isinstance(error, ValueError | OSError | MisconfigurationException | NotImplementedError):
        return text
    if isinstance(error, RuntimeError) and "loading state_dict" in text:
        return f"the checkpoint does not fit this module: other options or other data made it ({text[:200]} ...)"
    if isinstance(error, RuntimeError) and "out of memory" in text:
        return f"out of memory: try a smaller --data.batch_size ({text[:200]})"
    return None

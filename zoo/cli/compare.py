"""The command ``compare``: its arguments, the plan that they make, and what is printed and left behind."""

import json
import os
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from zoo.cli.shorthand import UsageError, data_at, resolve, short_path, take
from zoo.compare.request import Asked, Request
from zoo.core.imports import load
from zoo.core.suggest import did_you_mean
from zoo.registry import COMPARED, DATA, MODULES

_UNLABELLED = (
    "no verdict: these data have no labels. With a few labels a class and 30 labelled test samples or more there is "
    "one; with 1,000 test samples and five seeds, a gain 2 points above --worth is seen about every other time."
)
OPTIONS = (
    "--data",
    "--modules",
    "--labels",
    "--seeds",
    "--pretrainings",
    "--budget",
    "--steps",
    "--tuning_steps",
    "--network",
    "--worth",
    "--jobs",
    "--precision",
    "--out",
)


def request(argv: Sequence[str]) -> tuple[Request, list[str], list[tuple[Asked, list[str]]], bool]:
    """Read the arguments of ``compare``, without importing anything slow.

    Returns:
        What was asked for, without options of data and techniques; the data's as they were typed; techniques with
        theirs; and whether only the plan is wanted.

    Raises:
        UsageError: one that is unknown, missing or out of its range; it names it.
    """
    words = list(argv)
    dry_run = "--dry_run" in words
    words = [word for word in words if word != "--dry_run"]
    values = {option.removeprefix("--"): text for option in OPTIONS if (text := take(words, option)) is not None}
    data_words, rest = _of_data(words)
    if rest:
        raise UsageError(f"unknown option {rest[0]!r}{did_you_mean(rest[0], [*OPTIONS, '--dry_run'])}")
    if "budget" in values and "steps" in values:
        raise UsageError("--budget and --steps both say how long a pretraining is: give one of them")
    path, at = _data(values.pop("data", "digits"))
    names = [name for name in _parts(values.pop("modules", ",".join(_default_modules())), ",") if name]
    if not names:
        raise UsageError(f"--modules names no technique; there are: {', '.join(_default_modules())}")
    asked = Request(path, {}, (), **_read(values))
    if asked.first_seeds and not 3 <= asked.first_seeds <= asked.seeds:
        raise UsageError("--seeds takes a number, or two such as 3..12, the first 3 or more and not above the second")
    if asked.pretrainings > asked.seeds:
        raise UsageError(f"--pretrainings {asked.pretrainings} of --seeds {asked.seeds}: there is one for each at most")
    _check_folder(asked.out)
    return asked, [*at, *data_words], [_technique(name) for name in dict.fromkeys(names)], dry_run


def _check_folder(out: Path) -> None:
    """Refuse a folder that nothing can be written to."""
    there = next((path for path in (out, *out.absolute().parents) if path.exists()), out)
    if not there.is_dir():
        raise UsageError(f"--out takes a folder, and {there} is a file")
    if not os.access(there, os.W_OK | os.X_OK):
        raise UsageError(f"--out {out}: nothing can be written to {there}")


def _read(values: dict[str, str]) -> dict[str, Any]:
    """Values of options as the fields of a request."""
    if "seeds" in values:  # "5", or "3..12"
        first, dots, last = values["seeds"].partition("..")
        values = {**values, "seeds": last or first, **({"first_seeds": first} if dots else {})}
    readers: dict[str, Callable[[str], Any]] = {"labels": _numbers, "budget": seconds_of, "worth": _number}
    readers |= {"out": Path, "network": _spec, "precision": str}
    return {
        name: readers[name](text) if name in readers else _whole(f"--{name}", text) for name, text in values.items()
    }


def _technique(text: str) -> tuple[Asked, list[str]]:
    """A technique, and its options as they were typed: ``NAME:lr=0.01:latent_dim=8``."""
    name, *options = _parts(text, ":")
    if short_path(name) or name.endswith(".ckpt") or name in ("torchvision", "timm"):
        return Asked(text, weights=str(Path(text).expanduser()) if name[0] == "~" else text), []
    if name.replace("-", "_") not in MODULES and "." not in name and Path(name).exists():
        raise UsageError(f"{name!r} is no technique; an encoder's folder is written ./{name}")
    path = resolve(name, MODULES, "module")
    if wrong := [option for option in options if "=" not in option]:
        raise UsageError(f"{text!r}: options are written {name}:option=value, and {wrong[0]!r} has no value")
    return Asked(text, path), [f"--module.{option}" for option in options]


def _parts(text: str, sign: str) -> list[str]:
    """A text divided at a sign, but for those within brackets."""
    depth, parts = 0, [""]
    for letter in text:
        depth += (letter in "{[") - (letter in "}]")
        if letter == sign and not depth:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def _spec(text: str) -> Any:
    """A network's name, or a mapping with its options."""
    if not text.startswith("{"):
        return text
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        raise UsageError(f"--network takes a name, or a mapping {{name: mlp, widths: [64]}}; got {text!r}") from None


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(sorted({_whole("--labels", number) for number in text.split(",")}))


def _of_data(words: list[str]) -> tuple[list[str], list[str]]:
    """Options of the data, each with its value, and the rest."""
    data, rest, i = [], [], 0
    while i < len(words):
        if not words[i].startswith("--data."):
            rest.append(words[i])
        elif "=" in words[i]:
            data.append(words[i])
        elif i + 1 < len(words) and not words[i + 1].startswith("--"):
            i += 1
            data.append(f"{words[i - 1]}={words[i]}")
        else:
            raise UsageError(f"{words[i]} needs a value")
        i += 1
    return data, rest


def _data(text: str) -> tuple[str, list[str]]:
    """Import path of the data, and the option that says where they are, for a folder or file."""
    found = data_at(text, "")
    if found:
        return DATA[found[0]].path, [found[1]]
    return resolve(text, DATA, "data"), []


def _default_modules() -> list[str]:
    """Techniques of the registry whose encoder feeds a fine-tuning, for images."""
    return [name for name, entry in MODULES.items() if "{run}/encoder" in entry.next_step]


def _whole(option: str, text: str) -> int:
    if not text.strip().isdecimal() or int(text) < 1:
        raise UsageError(f"{option} takes whole numbers from 1; got {text!r}")
    return int(text)


def _number(text: str) -> float:
    with suppress(ValueError):
        if 0 <= float(text) < 100:
            return float(text)
    raise UsageError(f"--worth takes a number of points, 0 or more and below 100; got {text!r}")


def seconds_of(text: str) -> float:
    """Seconds of a duration.

    >>> seconds_of("3m"), seconds_of("45s"), seconds_of("1.5h"), seconds_of("20")
    (180.0, 45.0, 5400.0, 20.0)

    Raises:
        UsageError: it is none.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|m|min|h|)", text.strip())
    if not found or float(found.group(1)) <= 0:
        raise UsageError(f"--budget takes a time, 45s, 3m or 1h; got {text!r}")
    return float(found.group(1)) * {"s": 1, "": 1, "m": 60, "min": 60, "h": 3600}[found.group(2)]


def _typed(path: str, key: str, words: list[str]) -> dict[str, Any]:
    """Options of a class that were typed, ``--key.name=value``, as values of its types.

    Raises:
        SystemExit: one that it does not have, or of another type; a line says which.
        UsageError: there is no such class.
    """
    try:
        cls = load(path)
    except Exception as error:  # of one's own file, whatever is wrong in it
        raise UsageError(f"{path} cannot be imported: {type(error).__name__}: {error}") from error
    if not words:
        return {}
    from zoo.cli.parser import ZooParser

    parser = ZooParser(allow_abbrev=False)
    parser.add_class_arguments(cls, key, fail_untyped=False)
    values = parser.parse_args(words).as_dict()[key]
    given = {re.split(r"[.=]", word.removeprefix(f"--{key}."))[0] for word in words}
    plain = {name: value for name, value in values.items() if name in given}
    return dict(json.loads(json.dumps(plain, default=str)))  # as the plan is read again: no tuples, no paths


def compare(argv: Sequence[str]) -> str:
    """Compare techniques, or go on with it, and write its files.

    Returns:
        What is printed last: the verdicts and where the files are.

    Raises:
        UsageError: an argument that is wrong.
        ValueError: data or techniques with which nothing can be compared; others in the folder; a technique
            failed, when the others are compared.
    """
    asked, data_words, techniques, dry_run = request(argv)
    sys.path.append(str(Path.cwd()))  # so that my_file.MyModule works, from the console script too
    from zoo.compare.cells import Folder
    from zoo.compare.files import features_text, write_files
    from zoo.compare.plan import write_plan
    from zoo.compare.planning import check_data, described, planned, threads_of
    from zoo.compare.pool import read_data, workers
    from zoo.compare.run import compare as run
    from zoo.compare.trainings import Work
    from zoo.core.quiet import quiet_lightning

    quiet_lightning()
    options = _typed(asked.data, "data", data_words)
    typed = tuple(
        each._replace(options=_typed(each.path, "module", words)) if each.path else each for each, words in techniques
    )
    asked = asked._replace(data_options=options, techniques=typed)
    data = read_data(asked.data, options)
    asked = asked._replace(labels=check_data(data, asked.labels))
    with workers(asked.jobs, threads_of(asked), asked.data, options) as pool:
        plan = planned(asked, data, pool, _say)
        if dry_run:
            return described(plan, asked.jobs)
        folder = Folder(asked.out)
        write_plan(plan, folder)
        outcome = run(Work(plan, folder, data), pool, _say)
    values = {**outcome._asdict(), "plan": {**plan._asdict(), "techniques": [t._asdict() for t in plan.techniques]}}
    write_files(folder, values)
    page = (
        str(load(COMPARED)(asked.out, values)) if plan.labels else f"{features_text(values['features'])}\n{_UNLABELLED}"
    )
    text = "\n".join([*_told(values), page])
    if outcome.failures:
        print(text)
        raise ValueError("; ".join(f"{name} failed: {message}" for name, message in outcome.failures.items()))
    return text


def _told(found: dict[str, Any]) -> list[str]:
    """Lines with what was found: a sentence for each technique and number of labels, and what to be careful about."""
    lines = [row["sentence"] for row in found["rows"]] + [f"careful: {text}" for text in found["warnings"]]
    if found["copies"]:
        one = found["copies"] == 1
        what = "1 test sample occurs" if one else f"{found['copies']} test samples occur"
        lines.append(f"careful: {what} in training, too, and {'was' if one else 'were'} left out of the test")
    collapsed = dict.fromkeys(row["technique"] for row in found["rows"] if row["collapsed"])
    return lines + [f"careful: features of {name} collapsed in a pretraining, which counts" for name in collapsed]


def _say(text: str) -> None:
    print(text, flush=True)

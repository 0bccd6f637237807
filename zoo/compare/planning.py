"""A plan from what was asked for: modules are built once, so that mistakes are told before anything is trained."""

import hashlib
import json
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor

from zoo.compare.cells import Folder
from zoo.compare.plan import Entry, Plan, extended, read_plan
from zoo.compare.request import Asked, Request
from zoo.compare.speed import measured
from zoo.compare.trainings import Work, build, trainer_for
from zoo.core.archive import first_line
from zoo.core.duration import duration
from zoo.core.gradient_free import GradientFreeModule
from zoo.core.imports import load
from zoo.core.options import accepted_arguments
from zoo.functional.finetune import is_labelled
from zoo.io.backbone import resolve_backbone
from zoo.networks.encoder import Encoder
from zoo.networks.spec import Spec
from zoo.registry import MODULES

_FEWEST_TESTED = 30  # test samples, with which no gain below some 15 points can be told
_AUGMENTATION = ("shift", "flip", "crop_scale", "rotate", "jitter")
_FURTHER = (2, 4, 8)  # times the largest number of labels, at which what needs no pretraining is measured, too
_BATCH = 64  # of every fine-tuning
_PROBE_L2 = 0.25  # times 1 / labels: penalty of probes, the fine-tuning module's
_SHIFT = 14  # of a side, a fourteenth is how far images are shifted by default: 2 pixels of 28


def check_data(data: Any, labels: tuple[int, ...]) -> tuple[int, ...]:
    """Refuse data on which nothing can be compared; the labels a class, () of data that have none.

    Raises:
        ValueError: another task than classes, a class with fewer labels than asked, or hardly a test part.
    """
    known = data.labels_of("train")
    if known is None or not is_labelled(known).any():
        return ()
    if data.task != "classification":
        raise ValueError(f"the comparison is of classes, and the task of these data is {data.task}")
    counts = known[known >= 0].bincount(minlength=data.num_classes)
    fewest = int(counts.min())
    if not fewest:
        name = data.class_names[int(counts.argmin())]
        raise ValueError(f"class {name!r} has no training label: label some of its samples, or leave the class out")
    if fewest < max(labels):
        name = data.class_names[int(counts.argmin())]
        able = [str(n) for n in labels if n <= fewest]
        offer = f"--labels {','.join(able)}" if able else f"--labels {fewest}"
        raise ValueError(f"class {name!r} has {fewest} training labels, fewer than {max(labels)}: {offer} works")
    validated = data.labels_of("val")
    if validated is None or not is_labelled(validated).any():
        raise ValueError("no validation sample has a label, and by these is chosen how each technique is used")
    truth = data.labels_of("test")
    tested = 0 if truth is None else int((~copied(data)).sum())
    if tested < _FEWEST_TESTED:
        least = 100 * 1.96 * (0.5 / max(tested, 1)) ** 0.5
        raise ValueError(
            f"{tested} labelled test samples that are not trained on tell no gain of less than about {least:.0f} "
            f"points: {_FEWEST_TESTED} or more are needed (of images without a test part, a larger `data.val_fraction` "
            "sets more aside)"
        )
    return labels


def copied(data: Any) -> Tensor:
    """Which test samples with a label occur among the training or validation samples, byte for byte, (n,) bool."""
    seen = {*data.digests("train"), *data.digests("val")}
    found = torch.tensor([digest in seen for digest in data.digests("test")])
    return found[is_labelled(data.labels_of("test"))]


def augmentation(data: Any) -> dict[str, Any]:
    """How training samples vary while fine-tuning: as the data were told, or by a shift and, where a mirrored image is
    still of its class, a flip."""
    own = {name: getattr(data, name) for name in _AUGMENTATION if hasattr(data, name)}
    usual = {"shift": 0, "flip": False, "crop_scale": 1.0, "rotate": 0.0, "jitter": 0.0}
    if not own or any(value != usual[name] for name, value in own.items()):
        return {}
    return {"shift": max(1, data.input_shape[-1] // _SHIFT), "flip": data.mirrored is True}


def technique(asked: Asked, data: Any, network: Spec | None, common: str) -> Entry:
    """A technique's entry, without its steps.

    Args:
        asked: What was asked for.
        data: Datamodule.
        network: Spec of the trunk, for modules that take one; None is each module's own default.
        common: JSON of the common network's spec.

    Raises:
        ValueError: it cannot be built, does not fit the data, or has no encoder that could be fine-tuned.
    """
    if asked.weights:
        encoder = resolve_backbone(asked.weights, data.input_shape, data.normalisation)
        own = _written(asked.name, encoder)
        other = own != common and getattr(encoder.trunk, "learns_from_scratch", True)
        return Entry(asked.name, weights=asked.weights, network=own, own_network=other, digest=_digest(encoder))
    cls, unlabelled = load(asked.path), data.without_labels()
    if getattr(cls, "learns_from_labels", False):
        raise ValueError(f"{asked.name} learns from labels: leave it out, every technique's encoder is fine-tuned here")
    try:
        module, options = _built(cls, asked.options, unlabelled, network)
    except Exception as error:
        raise ValueError(f"{asked.name} cannot be built for these data: {first_line(error)}") from error
    own, learns = _written(asked.name, getattr(module, "encoder", None)), not isinstance(module, GradientFreeModule)
    epochs = 0 if learns else _epochs(cls)
    return Entry(asked.name, asked.path, options, network=own, own_network=learns and own != common, epochs=epochs)


def _built(cls: Any, options: dict[str, Any], data: Any, network: Spec | None) -> tuple[Any, dict[str, Any]]:
    """A module with the common network where it takes that, and its options."""
    if network is not None and "network" not in options and "network" in accepted_arguments(cls):
        with suppress(ValueError):  # of a transformer, say, no other network can take the place: it keeps its own
            return build(cls, {**options, "network": network}, data), {**options, "network": network}
    return build(cls, options, data), options


def _say_who_refused(asked: Request, entries: Sequence[Entry], say: Callable[[str], None]) -> None:
    """A line for each technique that takes networks, but not the one that was asked for."""
    for entry in entries:
        takes = entry.path and "network" in accepted_arguments(load(entry.path))
        if asked.network and takes and "network" not in entry.options:
            say(f"{entry.name} does not work with --network {asked.network}, and keeps {entry.network}")


def _written(name: str, encoder: Any) -> str:
    """JSON of the spec of an encoder's network."""
    if getattr(encoder, "spec", None) is None:
        raise ValueError(f"{name} has no `encoder` that was made from a spec, which could be fine-tuned")
    return json.dumps(encoder.spec)


def _digest(encoder: Encoder) -> str:
    """A digest of an encoder's weights."""
    digest = hashlib.sha256()
    for name, value in encoder.state_dict().items():
        digest.update(name.encode() + value.cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


def _epochs(cls: type) -> int:
    """Epochs of a module that learns without gradients, whose length is its own."""
    entries = {entry.path: entry for entry in MODULES.values()}
    paths = (f"{base.__module__}.{base.__qualname__}" for base in cls.__mro__)
    budget = next((entries[path].default_budget for path in paths if path in entries), "")
    return int(budget.partition("max_epochs=")[2] or 1)


def further_labels(data: Any, labels: Sequence[int]) -> tuple[int, ...]:
    """Numbers of labels beyond those asked for, of which every class has enough: for the curve without pretraining."""
    if not labels:
        return ()
    known = data.labels_of("train")
    fewest = int(known[known >= 0].bincount(minlength=data.num_classes).min())
    return tuple(times * max(labels) for times in _FURTHER if times * max(labels) <= fewest)


def threads_of(asked: Request) -> int:
    """Threads of each process: those that an earlier plan in the folder has, or an equal part of the cores."""
    old = read_plan(Folder(asked.out))
    return old.threads if old else max(1, (os.cpu_count() or 1) // asked.jobs)


def planned(asked: Request, data: Any, pool: Executor | None, say: Callable[[str], None]) -> Plan:
    """The plan, which extends the one that the folder has; new techniques' speeds are measured first.

    Args:
        asked: What was asked for.
        data: Datamodule, set up.
        pool: Processes that measure, or None.
        say: Called with lines of progress.

    Raises:
        ValueError: a technique that cannot be built, a budget too short for one step, or another comparison in the
            folder.
    """
    folder = Folder(asked.out)
    images = len(data.input_shape) == 3
    common = json.dumps(asked.network or ("conv" if images else "mlp"))
    Encoder(json.loads(common), data.input_shape)  # an unknown one is told here
    network = asked.network or (None if images else "mlp")
    entries = tuple(technique(each, data, network, common) for each in asked.techniques)
    _say_who_refused(asked, entries, say)
    old = read_plan(folder)
    labels = tuple(sorted({*asked.labels, *(old.labels if old else ())}))
    plan = Plan(
        data=asked.data,
        data_options=asked.data_options,
        fingerprint=data.fingerprint,
        techniques=entries,
        labels=labels,
        further=further_labels(data, labels),
        seeds=asked.seeds,
        first_seeds=asked.first_seeds or asked.seeds,
        pretrainings=asked.pretrainings,
        network=common,
        tuning={
            "steps": asked.tuning_steps,
            "batch_size": min(_BATCH, data.batch_size),
            "probe_l2": _PROBE_L2,
            "augmentation": augmentation(data),
        },
        length=f"{asked.steps} steps" if asked.steps else f"{asked.budget:g} s",
        longer=asked.steps,
        worth=asked.worth,
        precision=asked.precision,
        threads=threads_of(asked),
    )
    trainer_for(plan)  # an unknown precision is told here
    if old is not None:
        plan = extended(old, plan)
    return _with_steps(Work(plan, folder, data), asked, old, pool, say)


def _with_steps(
    work: Work, asked: Request, old: Plan | None, pool: Executor | None, say: Callable[[str], None]
) -> Plan:
    """The plan with a number of steps for each technique that is new."""
    plan, known = work.plan, {entry.name for entry in old.techniques} if old else set()
    new = [entry for entry in plan.techniques if entry.name not in known and entry.path and not entry.epochs]
    if asked.steps:
        found = {entry.name: entry._replace(steps=asked.steps) for entry in new}
        return plan._replace(techniques=tuple(found.get(t.name, t) for t in plan.techniques))
    networks = {plan.network, *(entry.network for entry in plan.techniques)} - set(plan.seconds_per_step)
    networks = networks if plan.labels else set()
    if new or networks:
        count = f"{len(new)} techniques, {len(networks)} networks"
        say(f"measuring how many steps fit into {duration(asked.budget)}: {count}")
    tuning, pretraining = measured(work, pool, sorted(networks), new)
    found = {}
    for entry in new:
        seconds = pretraining[entry.name]
        steps = round(asked.budget / seconds)
        if not steps:
            raise ValueError(f"--budget {asked.budget:g}s is too short: a step of {entry.name} takes {seconds:.1f} s")
        found[entry.name] = entry._replace(steps=steps, seconds=round(steps * seconds, 1))
    speeds = {**plan.seconds_per_step, **tuning}
    longer = plan.longer or (round(asked.budget / speeds[plan.network]) if plan.labels else 0)
    techniques = tuple(found.get(t.name, t) for t in plan.techniques)
    return plan._replace(techniques=techniques, seconds_per_step=speeds, longer=longer)


def described(plan: Plan, jobs: int) -> str:
    """What ``--dry_run`` prints: trainings, steps, and when all would be done."""
    lines = [f"{'technique':30s} {'steps':>8s} {'minutes':>8s}"]
    for entry in plan.techniques:
        epochs = f"{entry.epochs} epoch{'s' if entry.epochs > 1 else ''}"
        steps = epochs if entry.epochs else str(entry.steps or "-")
        minutes = f"{entry.seconds / 60:.1f}" if entry.seconds else "-"
        lines.append(f"{entry.name:30s} {steps:>8s} {minutes:>8s}")
    seconds = sum(plan.expected_seconds(cell) for cell in plan.expected_cells) / jobs
    when = time.strftime("%a %H:%M", time.localtime(time.time() + seconds))
    count = f"{len(plan.expected_cells)} trainings on {jobs} process{'es' if jobs > 1 else ''}"
    lines.append(f"{count}: about {duration(seconds)}, until {when}" if seconds else count)
    return "\n".join(lines)

"""One contract for every technique in the registry.

What a technique does otherwise than most is said by attributes of its class. Another package runs these tests on a
technique of its own by importing them, with a ``pytest_generate_tests`` that gives its name.
"""

import importlib
from types import SimpleNamespace

import lightning.pytorch as pl
import pytest
import torch
import yaml
from conftest import quiet_trainer as trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from zoo.core.base import ZooModule
from zoo.core.gradient_free import GradientFreeModule
from zoo.registry import DATA, DATA_TO_MODEL_ARGS, MODULES


def pytest_generate_tests(metafunc):
    """Tests of a technique stand together, so that they share what was trained."""
    if "name" in metafunc.fixturenames:
        names = [pytest.param(name, marks=seldom(metafunc.function.__name__, name)) for name in MODULES]
        metafunc.parametrize("name", names, scope="module")


def seldom(test, name):
    """The marks of a technique's test that two others, of one network and of a network in another, stand for."""
    few = test == "test_train_py_lightnings_cli_and_python_agree" and name not in ("autoencoder", "distill")
    return [pytest.mark.nightly] if few else []


@pytest.fixture(scope="module")
def registration():
    """What a program must say first to have the technique in its registry."""
    return ""


@pytest.fixture(scope="module")
def trained(name, tmp_path_factory):
    """A module after two epochs without a break, its data, trainer and weights: to read, since tests share it.

    It was validated before its training as well, and others were not, which must be the same.
    """
    module, data = make(name)
    fit = trainer(tmp_path_factory.mktemp(name), max_epochs=2, num_sanity_val_steps=2)
    fit.fit(module, data)
    return SimpleNamespace(module=module, data=data, trainer=fit, weights=weights(module))


def load(path):
    module, _, attribute = path.rpartition(".")
    return getattr(importlib.import_module(module), attribute)


def technique(name):
    """The class of a technique of the registry."""
    return load(MODULES[name].path)


def make(name, batch_size=None, **options):
    """Module and default data, as the command line would make them, but with what the technique trains less by."""
    pl.seed_everything(0, verbose=False)
    data = load(DATA[MODULES[name].data].path)(**({"batch_size": batch_size} if batch_size else {}))
    cls = technique(name)
    return cls(**{**linked(cls, data), **quick_options(name), **options}), data


def quick_options(name):
    """The options by which a technique of large networks, or that trains another first, is tested without waiting."""
    return getattr(technique(name), "quick_options", {})


def linked(cls, data):
    """The arguments that the data say."""
    return {k: getattr(data, k, None) for k in DATA_TO_MODEL_ARGS if k in cls.__init__.__annotations__}


def weights(module):
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def assert_same(first, second, **tolerance):
    assert first.keys() == second.keys()
    for name, value in first.items():
        torch.testing.assert_close(
            value, second[name], **tolerance or {"rtol": 0, "atol": 0}, msg=lambda m, n=name: n + m
        )


def first_batch(data):
    """Of the training data, which may hold more than others; the loader adds a seed, which the data use up."""
    data.prepare_data()
    data.setup()
    return data.on_after_batch_transfer(next(iter(data.train_dataloader())), 0)


def test_trains_and_moves_only_what_is_trainable(name, tmp_path):
    module, data = make(name, **getattr(technique(name), "frozen_options", {}))
    before = weights(module)
    frozen = next(n for n, p in module.named_parameters())
    learns_by_gradient = not isinstance(module, GradientFreeModule)  # the others have nothing to freeze
    module.get_parameter(frozen).requires_grad_(not learns_by_gradient)
    fit = trainer(tmp_path)
    fit.fit(module, data)
    assert torch.isfinite(fit.callback_metrics["train/loss"])
    assert torch.isfinite(fit.callback_metrics[module.monitor or "val/loss"])
    if not learns_by_gradient:
        assert frozen == "anchor" and module.anchor == 0
        after = weights(module)
        moved = {n for n in after if not torch.equal(after[n], before[n])}
        assert {n for n in moved if n.startswith("encoder.")}, "what encodes has not moved"
        return
    moved = {n for n, p in module.named_parameters() if not torch.equal(p, before[n])}
    assert moved == {n for n, p in module.named_parameters()} - {frozen}


def test_checkpoint_is_plain_and_loads_without_arguments(trained, tmp_path):
    module = trained.module
    trained.trainer.save_checkpoint(tmp_path / "a.ckpt")
    torch.load(tmp_path / "a.ckpt", weights_only=True)
    loaded = type(module).load_from_checkpoint(tmp_path / "a.ckpt").eval()
    assert loaded.hparams == module.hparams
    x = first_batch(trained.data)[module.input_key]
    torch.testing.assert_close(loaded.encode(x), module.eval().encode(x), rtol=0, atol=0)


def test_one_epoch_and_another_are_two(name, trained, tmp_path):
    first, data = make(name)

    class StopAfterOne(pl.Callback):
        def on_train_epoch_end(self, trainer, *_):
            trainer.should_stop = True  # planned for two, since a rate may fall towards the planned end

    fit = trainer(tmp_path, max_epochs=2, callbacks=[StopAfterOne()])
    fit.fit(first, data)
    assert fit.current_epoch == 1
    fit.save_checkpoint(tmp_path / "half.ckpt")
    torch.manual_seed(12345)  # a new process would not be where the old one was
    second, data = make(name)
    trainer(tmp_path, max_epochs=2).fit(second, data, ckpt_path=tmp_path / "half.ckpt", weights_only=True)
    assert_same(trained.weights, weights(second))


def test_resumes_in_the_middle_of_an_epoch(name, trained, tmp_path):
    first, data = make(name)

    class StopAtFourteen(pl.Callback):
        def on_train_batch_end(self, trainer, *_):
            if trainer.global_step == 14:
                trainer.save_checkpoint(tmp_path / "middle.ckpt")
                trainer.should_stop = True

    stopped = trainer(tmp_path, max_epochs=2, callbacks=[StopAtFourteen()])
    stopped.fit(first, data)
    stopped.save_checkpoint(tmp_path / "stopped.ckpt")
    for checkpoint in ("middle.ckpt", "stopped.ckpt"):
        second, data = make(name)
        fit = trainer(tmp_path, max_epochs=2)
        fit.fit(second, data, ckpt_path=tmp_path / checkpoint, weights_only=True)
        steps = 2 * len(data.train_dataloader())
        assert 14 % (steps // 2) != 0 and fit.global_step == steps
        if checkpoint == "middle.ckpt" or second.stops_exactly:
            assert_same(trained.weights, weights(second))


def test_batch_is_not_mutated(name):
    module, data = make(name)
    batch = first_batch(data)
    copy = {key: value.clone() for key, value in batch.items()}
    module.loss(batch)
    assert batch.keys() == copy.keys()
    assert all(torch.equal(batch[key], copy[key]) for key in copy)


def test_a_tuple_from_anybodys_loader_does(name, tmp_path):
    module, data = make(name)
    if not module.takes_tuples:
        pytest.skip(f"{name}: needs more of a sample than a tuple holds")
    batch = first_batch(data)
    pairs = torch.utils.data.TensorDataset(*(batch[key] for key in (module.input_key, "label") if key in batch))
    loader = torch.utils.data.DataLoader(pairs, batch_size=32)
    fit = trainer(tmp_path)
    fit.fit(module, loader, loader)
    assert torch.isfinite(fit.callback_metrics["train/loss"])


def test_missing_key_names_module_and_keys(name):
    module, _ = make(name)
    with pytest.raises(ValueError, match=rf"{type(module).__name__} needs .* only: 'other'"):
        module.loss({"other": torch.zeros(2, 3)})


def test_unknown_option_fails_by_name(name):
    with pytest.raises(TypeError, match="no_such_option"):
        technique(name)(no_such_option=1)


def test_subclass_of_another_project(name, tmp_path):
    module, data = make(name)

    class Mine(type(module)):
        def loss(self, batch):
            loss, logs = super().loss(batch)
            return 2 * loss, {**logs, "mine": loss.detach()}

    mine = Mine(**{**module.hparams, **linked(type(module), data)})
    fit = trainer(tmp_path)
    fit.fit(mine, data)
    torch.testing.assert_close(fit.callback_metrics["val/loss"], 2 * fit.callback_metrics["val/mine"])


@pytest.mark.long
@pytest.mark.nightly
def test_bf16_stays_finite(name, tmp_path):
    module, data = make(name)
    fit = trainer(tmp_path, precision="bf16-mixed", gradient_clip_val=1.0)
    fit.fit(module, data)
    assert torch.isfinite(fit.callback_metrics["train/loss"])
    assert all(p.isfinite().all() for p in module.parameters())


def two_steps(name, folder, precision):
    """Module, data and trainer of a short training."""
    options = getattr(technique(name), "frozen_options", {})  # no map first: rounding decides its ties
    module, data = make(name, batch_size=16, **options)
    fit = trainer(folder, precision=precision, limit_train_batches=2, limit_val_batches=1)
    fit.fit(module, data)
    return module, data, fit


@pytest.fixture(scope="module")
def full_precision_loss(name, tmp_path_factory):
    return two_steps(name, tmp_path_factory.mktemp(name), "32-true")[2].callback_metrics["train/loss"].double()


@pytest.mark.parametrize("precision", ["bf16-true", "16-true", "64-true", "16-mixed"])
def test_every_precision_comes_near_full_precision(name, precision, full_precision_loss, tmp_path):
    module, data, fit = two_steps(name, tmp_path, precision)
    loss = fit.callback_metrics["train/loss"].double()
    torch.testing.assert_close(loss, full_precision_loss, rtol=0.05, atol=0.02)
    dtypes = {p.dtype for n, p in module.named_parameters() if p.requires_grad and n != "anchor"}
    assert dtypes <= {next(iter(dtypes), None)}
    fit.save_checkpoint(tmp_path / "a.ckpt")
    loaded = technique(name).load_from_checkpoint(tmp_path / "a.ckpt").eval()
    x = first_batch(data)[module.input_key]  # float32, as anybody's
    near = {"64-true": 1e-4}.get(precision, 0.1)
    with torch.no_grad():
        mine = module.eval().encode(x).double()
        torch.testing.assert_close(loaded.encode(x).double(), mine, rtol=near, atol=near * mine.abs().max().item())


def test_statistics_keep_their_bits(name):
    """What is summed up or averaged over many steps stands still in half precision."""
    module, _ = make(name)
    kept = {n for n, v in module.state_dict().items() if v.dtype == torch.float64}
    kept |= {
        n for n in module.state_dict() if n.startswith(("generator_ema.", "quantiser.", "class_weight", "target_"))
    }
    if isinstance(module, GradientFreeModule):
        kept = set(module.state_dict())
    before = weights(module)
    half = module.to(torch.bfloat16).state_dict()
    assert all(half[n].dtype == before[n].dtype and torch.equal(half[n], before[n]) for n in kept)
    others = {n for n, v in before.items() if v.is_floating_point()} - kept
    assert all(half[n].dtype == torch.bfloat16 for n in others)


def test_accumulated_small_batches_are_one_large(name, tmp_path):
    cls = technique(name)
    if cls.batch_independent:
        pytest.skip(f"{name}: {cls.batch_independent}")
    large, data = make(name, batch_size=64, **cls.deterministic_options)
    trainer(tmp_path, limit_train_batches=6).fit(large, data)
    small, data = make(name, batch_size=32, **cls.deterministic_options)
    trainer(tmp_path, limit_train_batches=12, accumulate_grad_batches=2).fit(small, data)
    assert_same(weights(large), weights(small), rtol=1e-3, atol=1e-4)


def test_a_checkpoint_of_another_module_is_refused(name, tmp_path):
    class Other(ZooModule):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(1, 1)

    fit = trainer(tmp_path)
    fit.strategy.connect(Other())
    fit.save_checkpoint(tmp_path / "other.ckpt")
    module, _ = make(name)
    with pytest.raises(ValueError, match=f"Other, not by {type(module).__name__}"):
        type(module).load_from_checkpoint(tmp_path / "other.ckpt")


def test_the_command_line_takes_it(name, train):
    """A step of each stage; that it comes to the same as plain Python takes longer to show."""
    assert (done := train("--module", name, "--trainer.fast_dev_run=true")).returncode == 0, done.stderr
    text = train("--module", name, "--print_config")
    assert yaml.safe_load(text.stdout)["model"]["class_path"] == MODULES[name].path


@pytest.mark.long
def test_train_py_lightnings_cli_and_python_agree(name, train, tmp_path):
    quick = ("--trainer.max_epochs=1", "--trainer.limit_train_batches=5")
    ours, theirs = ([f"--{place}.{k}={v}" for k, v in quick_options(name).items()] for place in ("module", "model"))
    assert (done := train("--module", name, *ours, *quick)).returncode == 0, done.stderr
    data = ("--data", DATA[MODULES[name].data].path, *MODULES[name].default_data_args)
    text = train("fit", "--model", MODULES[name].path, *theirs, *data, *quick, "--print_config")
    assert text.returncode == 0, text.stderr
    assert yaml.safe_load(text.stdout)["model"]["class_path"] == MODULES[name].path
    (tmp_path / "printed.yaml").write_text(text.stdout)
    assert (done := train("fit", "--config", "printed.yaml")).returncode == 0, done.stderr
    module, _ = make(name)
    options = {k.removeprefix("--data."): yaml.safe_load(v) for k, _, v in (o.partition("=") for o in data[2:])}
    best = ModelCheckpoint(
        tmp_path, monitor=module.monitor, mode=module.monitor_mode
    )  # a network within has its best, too
    fit = trainer(tmp_path, limit_train_batches=5, enable_checkpointing=True, callbacks=[best])
    fit.fit(module, load(data[1])(**options))
    for run in "12":
        path = tmp_path / f"runs/{name}-{MODULES[name].data}/{run}/checkpoints/last.ckpt"
        assert_same(weights(module), torch.load(path, weights_only=True)["state_dict"])


DDP_SCRIPT = """
from test_common import make, technique, trainer
{registration}
module, data = make({name!r}, batch_size=32, **technique({name!r}).deterministic_options)
fit = trainer({folder!r}, limit_train_batches=6, devices=2, strategy="ddp")
fit.fit(module, data)
fit.save_checkpoint({folder!r} + "/ddp.ckpt")
"""


@pytest.mark.long
def test_two_processes_agree_with_one(name, registration, two_processes, tmp_path):
    cls = technique(name)
    if cls.batch_independent:
        pytest.skip(f"{name}: {cls.batch_independent}")
    two_processes(DDP_SCRIPT, name=name, registration=registration)
    module, data = make(name, batch_size=64, **cls.deterministic_options)
    trainer(tmp_path, limit_train_batches=6).fit(module, data)
    two = torch.load(tmp_path / "ddp.ckpt", weights_only=True)["state_dict"]
    assert_same(weights(module), two, rtol=1e-3, atol=1e-4)


RESUME_SCRIPT = """
import lightning.pytorch as pl
from test_common import make, trainer
{registration}

class Save(pl.Callback):
    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        if trainer.current_epoch == 1 and batch_idx == 2:
            trainer.save_checkpoint({folder!r} + "/middle.ckpt")

for run, callbacks, path in (("plain", [Save()], None), ("resumed", [], {folder!r} + "/middle.ckpt")):
    module, data = make({name!r}, batch_size=32)
    fit = trainer({folder!r}, max_epochs=2, devices=2, strategy="ddp", callbacks=callbacks)
    fit.fit(module, data, ckpt_path=path, weights_only=True)
    fit.save_checkpoint({folder!r} + "/" + run + ".ckpt")
"""


@pytest.mark.long
def test_sums_of_two_processes_survive_the_middle_of_an_epoch(name, registration, two_processes, tmp_path):
    """The checkpoint has the sums of both; one of them goes on with it."""
    if not issubclass(technique(name), GradientFreeModule):
        pytest.skip("learns by gradient, and so has no sums")
    two_processes(RESUME_SCRIPT, name=name, registration=registration)
    whole, resumed = (
        torch.load(tmp_path / f"{run}.ckpt", weights_only=True)["state_dict"] for run in ("plain", "resumed")
    )
    assert_same(whole, resumed, rtol=1e-5, atol=1e-5)


@pytest.mark.long
def test_defaults_run_under_ddp_from_the_command_line(name, train, tmp_path):
    two = ("--trainer.devices=2", "--trainer.strategy=ddp", "--trainer.accelerator=cpu")
    small = [f"--module.{k}={v}" for k, v in quick_options(name).items()]
    done = train("--module", name, *small, "--trainer.max_epochs=1", *two, timeout=120, processes=2)
    assert done.returncode == 0, done.stderr
    runs = tmp_path / f"runs/{name}-{MODULES[name].data}"
    assert [path.name for path in runs.iterdir()] == ["1"]  # both processes share one folder
    for file in technique(name).artifacts:
        assert (runs / "1" / file).exists()

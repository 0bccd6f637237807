from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
from conftest import quiet_trainer
from lightning.pytorch.loggers import CSVLogger
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from callbacks.predictions.distillation_comparison import DistillationComparison
from datamodules.images import Digits
from datamodules.tabular import Vectors
from zoo import AutoencoderModule, DistillModule, FinetuneModule, load_encoder, save_encoder
from zoo.functional import distill
from zoo.functional.finetune import classification_loss

SHAPE = (1, 8, 8)
LAYERS = {"trunk.0": "trunk.0", "trunk.1": "trunk.1"}


def trained_teacher(folder, name="teacher.ckpt", data=None, epochs=8, **options):
    """A checkpoint, as fine-tuning leaves it."""
    pl.seed_everything(1, verbose=False)
    data = data or Digits()
    options = {"backbone": {"name": "conv", "width": 32, "norm": "batch"}, "class_names": data.class_names, **options}
    module = FinetuneModule(data.input_shape, data.num_classes, task=data.task, mode="full", **options)
    fit = quiet_trainer(folder, max_epochs=epochs)
    fit.fit(module, data)
    fit.save_checkpoint(folder / name)
    return str(folder / name)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    return trained_teacher(tmp_path_factory.mktemp("teacher"))


def made(teacher, data=None, **options):
    pl.seed_everything(0, verbose=False)
    data = data or Digits()
    given = {"class_names": data.class_names, "task": data.task, "train_baseline": False, **options}
    return DistillModule(data.input_shape, data.num_classes, teacher=teacher, **given), data


class Curve(pl.Callback):
    """Every step's loss."""

    def __init__(self):
        self.losses = []

    def on_train_batch_end(self, trainer, module, outputs, *_):
        self.losses.append(outputs["loss"].item())


def fitted(folder, teacher, data=None, epochs=2, trainer=None, **options):
    module, data = made(teacher, data, **options)
    curve = Curve()
    callbacks = [curve, DistillationComparison()]
    fit = quiet_trainer(folder, max_epochs=epochs, callbacks=callbacks, **(trainer or {}))
    fit.fit(module, data)
    return module, fit, curve.losses


def first_batch(data):
    data.setup()
    return data.on_after_batch_transfer(next(iter(data.train_dataloader())), 0)


# The student ---------------------------------------------------------------------------------------------------------


def test_the_checkpoint_is_the_student_alone(teacher, tmp_path):
    """No larger than one without a teacher, and loaded without arguments where the teacher is gone."""
    Path(tmp_path / "gone.ckpt").write_bytes(Path(teacher).read_bytes())
    module, fit, _ = fitted(tmp_path, str(tmp_path / "gone.ckpt"))
    (tmp_path / "gone.ckpt").unlink()
    fit.save_checkpoint(tmp_path / "a.ckpt")
    alone = FinetuneModule(SHAPE, 10, backbone={"name": "conv", "width": 16}, mode="full")
    assert module.state_dict().keys() == alone.state_dict().keys()
    assert {n for n, _ in module.named_parameters()} == {n for n, _ in alone.named_parameters()}
    other = quiet_trainer(tmp_path, max_epochs=2)
    other.fit(alone, Digits())
    other.save_checkpoint(tmp_path / "b.ckpt")
    assert (tmp_path / "a.ckpt").stat().st_size < (tmp_path / "b.ckpt").stat().st_size + 4096
    loaded, x = DistillModule.load_from_checkpoint(tmp_path / "a.ckpt").eval(), torch.rand(5, *SHAPE)
    assert torch.equal(loaded(x), module.eval()(x)) and loaded.hparams == module.hparams
    assert torch.equal(load_encoder(tmp_path / "a.ckpt")(x), module.encode(x))


def test_the_teacher_stays_as_it_is(teacher, tmp_path):
    module, data = made(teacher)
    theirs = module.teacher
    before = {k: v.clone() for k, v in theirs.state_dict().items()}
    quiet_trainer(tmp_path, max_epochs=1).fit(module, data)
    assert all(torch.equal(value, before[name]) for name, value in theirs.state_dict().items())
    assert not theirs.training and not any(p.requires_grad for p in theirs.parameters())
    assert not {id(p) for p in theirs.parameters()} & {id(p) for p in module.parameters()}


def test_both_see_the_same_crop(teacher, tmp_path):
    module, data = made(teacher, Digits(crop=2, flip=True))
    seen = {"teacher": [], "student": []}
    for name, encoder in (("teacher", module.teacher.members[0].encoder), ("student", module.encoder)):
        encoder.register_forward_pre_hook(lambda layer, x, name=name: seen[name].append(x[0].clone()))
    quiet_trainer(tmp_path, max_epochs=1, limit_val_batches=0).fit(module, data)
    assert len(seen["teacher"]) == len(seen["student"]) > 5
    assert all(torch.equal(a, b) for a, b in zip(*seen.values(), strict=True))


@pytest.mark.parametrize("name", ["kd", "dkd", "hints", "attention", "rkd", "crd"])
def test_each_loss_is_its_function_of_both_networks(teacher, name, tmp_path):
    option = {"hints": "hint_weight"}.get(name, f"{name}_weight")
    weights = {"dkd_weight": 0.0, "label_weight": 0.5, option: 2.0}
    layers = LAYERS if name in ("hints", "attention") else {}
    module, data = made(teacher, layers=layers, temperature=3.0, dkd_beta=4.0, **weights)
    batch = first_batch(data)
    if name == "crd":
        module.contrast.allocate(2000)
    found, logs = module.train().loss(batch)
    x, y, theirs = batch["input"], batch["label"], module.teacher.members[0]
    student, taught, maps = module(x), theirs.head(theirs.encoder(x)), []
    for encoder in (module.encoder, theirs.encoder):
        first = encoder.trunk[0](x)
        maps.append([first, encoder.trunk[1](first)])
    features = module.encode(x), theirs.encode(x)
    expected = {
        "kd": lambda: distill.kd_loss(student, taught, 3.0),
        "dkd": lambda: distill.dkd_loss(student, taught, y, 1.0, 4.0, 3.0),
        "hints": lambda: sum(F.mse_loss(c(s), t) for c, s, t in zip(module.connectors, *maps, strict=True)) / 2,
        "attention": lambda: sum(distill.attention_loss(s, t) for s, t in zip(*maps, strict=True)) / 2,
        "rkd": lambda: distill.rkd_distance_loss(*features) + 2 * distill.rkd_angle_loss(*features),
        "crd": lambda: logs["crd"],  # drawn by chance: tests of its own
    }[name]()
    torch.testing.assert_close(logs[name], expected)
    torch.testing.assert_close(found, 2 * expected + 0.5 * F.cross_entropy(student, y))
    quiet_trainer(tmp_path, max_epochs=1).fit(module, data)
    assert all(p.isfinite().all() for p in module.parameters())


def test_what_connects_the_two_learns_and_is_no_part_of_the_encoder(teacher, tmp_path):
    module, data = made(teacher, layers=LAYERS, hint_weight=1.0, crd_weight=0.1)
    before = {k: v.clone() for k, v in module.named_parameters()}
    fit = quiet_trainer(tmp_path, max_epochs=1)
    fit.fit(module, data)
    assert not [name for name, p in module.named_parameters() if torch.equal(p, before[name])]
    assert any(name.startswith("connectors.0.") for name in before) and "contrast.student.weight" in before
    fit.save_checkpoint(tmp_path / "a.ckpt")
    encoder = load_encoder(tmp_path / "a.ckpt")
    assert encoder.state_dict().keys() == module.encoder.state_dict().keys()
    loaded = DistillModule.load_from_checkpoint(tmp_path / "a.ckpt")
    assert torch.equal(loaded.contrast.memory, module.contrast.memory)


def test_unlabelled_samples_are_labelled_by_the_teacher(teacher, tmp_path):
    module, data = made(teacher, Digits(labels_per_class=3), kd_weight=1.0)
    batch = first_batch(data)
    assert (batch["label"] < 0).sum() > 100
    _, logs = module.train().loss(batch)
    student, taught = module(batch["input"]), module.teacher(batch["input"])["logits"]
    torch.testing.assert_close(logs["kd"], distill.kd_loss(student, taught, 2.0))
    torch.testing.assert_close(logs["labels"], classification_loss(student, batch["label"]))


def test_data_without_any_labels_have_the_teachers_classes(teacher, tmp_path):
    data = Digits()
    data.setup()
    x = data.splits["train"].images / 255
    loader = DataLoader(TensorDataset(x), batch_size=64, shuffle=True)
    pl.seed_everything(0, verbose=False)
    module = DistillModule(SHAPE, None, teacher=teacher)
    assert module.hparams.num_classes == 10 and module.hparams.class_names == data.class_names
    fit = quiet_trainer(tmp_path, max_epochs=8)
    fit.fit(module, loader, DataLoader(TensorDataset(x), batch_size=200))
    truth = data.splits["train"].labels
    agreement = (module.eval()(x).argmax(1) == module.teacher(x)["logits"].argmax(1)).float().mean()
    assert fit.callback_metrics["val/score"].item() == pytest.approx(agreement.item(), abs=1e-6)
    assert (module(x).argmax(1) == truth).float().mean() > 0.85


def test_a_teacher_helps_where_labels_are_few(teacher, tmp_path):
    scores = {}
    for name, weights in {"labels": {"dkd_weight": 0.0}, "dkd": {}}.items():
        data = Digits(labels_per_class=5, batch_size=128)
        module, fit, _ = fitted(tmp_path, teacher, data, epochs=25, trainer={"limit_val_batches": 0}, **weights)
        scores[name] = fit.test(module, data, verbose=False)[0]["test/score"]
    assert scores["dkd"] > scores["labels"] + 0.05, scores


@pytest.mark.parametrize("kind", ["multilabel", "regression"])
def test_other_tasks(kind, tmp_path):
    if kind == "regression":
        data = Vectors("diabetes")
    else:
        rows = torch.randn(300, 4)
        table = torch.cat([rows, (rows[:, :2] > 0).float()], 1)
        lines = ["a,b,c,d,x,y", *(",".join(f"{v:.6g}" for v in row) for row in table.tolist())]
        (tmp_path / "t.csv").write_text("\n".join(lines))
        data = Vectors(str(tmp_path / "t.csv"), label=["x", "y"], kind="multilabel")
    large = trained_teacher(tmp_path, data=data, epochs=20, backbone="mlp")
    module, fit, _ = fitted(tmp_path, large, data, epochs=30, dkd_weight=0.0, kd_weight=1.0, label_weight=0.0)
    found = fit.test(module, data, verbose=False)[0]
    assert found["test/score"] > found["test/teacher_score"] - 0.1 and found["test/teacher_score"] > 0.3, found
    with pytest.raises(ValueError, match=f"`dkd_weight` and `standardise` are for classification, not for {kind}"):
        made(large, data)


def test_accumulated_small_batches_are_one_large(teacher, tmp_path):
    large, _, _ = fitted(tmp_path, teacher, Digits(batch_size=64), 1, {"limit_train_batches": 6}, kd_weight=1.0)
    options = {"limit_train_batches": 12, "accumulate_grad_batches": 2}
    small, _, _ = fitted(tmp_path, teacher, Digits(batch_size=32), 1, options, kd_weight=1.0)
    for name, value in large.state_dict().items():
        torch.testing.assert_close(small.state_dict()[name], value, rtol=1e-3, atol=1e-4)


# The teacher ---------------------------------------------------------------------------------------------------------


def test_without_a_teacher_one_is_trained_first_and_all_are_compared(tmp_path, caplog):
    pl.seed_everything(0, verbose=False)
    module, data = DistillModule(SHAPE, 10, teacher_epochs=5), Digits()
    comparison = DistillationComparison()
    fit = quiet_trainer(tmp_path, max_epochs=5, callbacks=[comparison])
    fit.fit(module, data)
    assert "no trained teacher is named" in caplog.text and "5 epochs" in caplog.text
    found = fit.test(module, data, verbose=False)[0]
    assert found["test/teacher_score"] > 0.9 > 0.3 < found["test/baseline_score"]
    rows = {row.name: row for row in comparison.rows}
    assert list(rows) == ["teacher", "labels alone", "distilled"]
    student = rows["distilled"]
    assert student.parameters == sum(p.numel() for p in [*module.encoder.parameters(), *module.head.parameters()])
    assert student.size == 4 * student.parameters < rows["teacher"].size / 10 and student.latency > 0
    assert rows["labels alone"].score == pytest.approx(found["test/baseline_score"])


def test_labels_alone_are_what_fine_tuning_gives(teacher, tmp_path):
    """The same start, batches and steps."""
    module, data = made(teacher, Digits(labels_per_class=10), train_baseline=True)
    start = {k: v.clone() for k, v in module.encoder.state_dict().items()}
    comparison = DistillationComparison()
    quiet_trainer(tmp_path, max_epochs=2, callbacks=[comparison]).fit(module, data)
    torch.manual_seed(module._seed)  # as the head of the other began
    other = FinetuneModule(SHAPE, 10, backbone={"name": "conv", "width": 16}, lr=5e-3)
    other.encoder.load_state_dict(start)
    quiet_trainer(tmp_path, max_epochs=2, limit_val_batches=0).fit(other, Digits(labels_per_class=10))
    for name, value in comparison._baseline.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name


def test_a_teacher_that_was_trained_first_is_found_when_training_goes_on(tmp_path, caplog):
    def run(epochs, checkpoint=None):
        pl.seed_everything(0, verbose=False)
        module = DistillModule(SHAPE, 10, teacher_epochs=2, train_baseline=False)
        fit = quiet_trainer(tmp_path, max_epochs=epochs, logger=CSVLogger(tmp_path, "a", "1"))
        fit.fit(module, Digits(), ckpt_path=checkpoint, weights_only=True)
        fit.save_checkpoint(tmp_path / f"{epochs}.ckpt")
        return module

    first = run(1)
    assert caplog.text.count("no trained teacher is named") == 1
    second, x = run(2, tmp_path / "1.ckpt"), torch.rand(3, *SHAPE)
    assert caplog.text.count("no trained teacher is named") == 1
    torch.testing.assert_close(second.teacher(x)["logits"], first.teacher(x)["logits"])


def test_several_teachers_are_averaged(teacher, tmp_path):
    second = trained_teacher(tmp_path, epochs=2, backbone={"name": "conv", "width": 16})
    both, single, other = (made(sources)[0].teacher for sources in ([teacher, second], teacher, second))
    x = torch.rand(6, *SHAPE)
    found = both(x)
    torch.testing.assert_close(found["logits"], (single(x)["logits"] + other(x)["logits"]) / 2)
    assert torch.equal(found["features"], torch.cat([single(x)["features"], other(x)["features"]], 1))
    with pytest.raises(ValueError, match="one teacher; these are several"):
        made([teacher, second], layers=LAYERS, hint_weight=1.0)
    with pytest.raises(ValueError, match="several teachers must be trained"):
        made([teacher, "mlp"])


def test_an_encoder_gets_a_last_layer_from_the_labels(tmp_path):
    pl.seed_everything(0, verbose=False)
    pretrained = AutoencoderModule(SHAPE, network={"name": "conv", "width": 16}, latent_dim=8)
    quiet_trainer(tmp_path, max_epochs=5).fit(pretrained, Digits())
    folder = str(save_encoder(pretrained.encoder, tmp_path / "encoder"))
    data = Digits(labels_per_class=20)
    module, fit, _ = fitted(tmp_path, folder, data, epochs=1)
    member = module.teacher.members[0]
    assert member.head.out_features == 10 and fit.test(module, data, verbose=False)[0]["test/teacher_score"] > 0.85
    images, labels = data.splits["train"]
    x = images[labels >= 0] / 255
    probe = FinetuneModule(SHAPE, 10, backbone=folder, mode="probe")
    quiet_trainer(tmp_path, max_epochs=1).fit(probe, data)
    torch.testing.assert_close(member.head_output(member.encode(x)), probe(x), rtol=1e-3, atol=1e-3)


def test_classes_in_another_order_are_put_in_order(teacher, tmp_path):
    names = ["3", "1", "7"]
    pl.seed_everything(0, verbose=False)
    module = DistillModule(SHAPE, 3, names, teacher=teacher)
    full, x = made(teacher)[0].teacher, torch.rand(4, *SHAPE)
    torch.testing.assert_close(module.teacher(x)["logits"], full(x)["logits"][:, [3, 1, 7]])


def test_a_teacher_that_is_tested_between_two_weights_teaches_so(tmp_path):
    path = trained_teacher(tmp_path, epochs=2, wise_ft=0.3, backbone={"name": "conv", "width": 16})
    theirs = FinetuneModule.load_from_checkpoint(path).eval()
    theirs.interpolate_with_start()
    x = torch.rand(4, *SHAPE)
    torch.testing.assert_close(made(path)[0].teacher(x)["logits"], theirs(x))


def test_the_teacher_normalises_for_itself(tmp_path):
    path = trained_teacher(
        tmp_path, data=Digits(normalise="standard"), epochs=1, normalisation=Digits(normalise="standard").normalisation
    )
    x = torch.rand(4, *SHAPE)
    raw = made(path)[0].teacher(x)["logits"]
    ready = made(path, Digits(normalise="standard"), normalisation=Digits(normalise="standard").normalisation)[0]
    torch.testing.assert_close(ready.teacher((x - 0.3053) / 0.3764)["logits"], raw)


@pytest.mark.parametrize(
    "options, says",
    [
        ({"mode": "probe"}, "mode must be one of full, lp_ft, gradual; got 'probe'"),
        ({"temperature": 0.0}, "temperature must be more than 0"),
        ({"kd_weight": -1.0}, "kd_weight must be 0 or more"),
        ({"dkd_weight": 0.0, "label_weight": 0.0}, "nothing to learn"),
        ({"hint_weight": 1.0}, "hints and attention need `layers`"),
        ({"hint_weight": 1.0, "layers": {"trunk.9": "trunk.0"}}, r"student has no layer 'trunk.9' .*: trunk, trunk.0"),
        ({"hint_weight": 1.0, "layers": {"trunk.0": "stage"}}, "has no layer 'stage'; there are: trunk, trunk.0"),
        ({"attention_weight": 1.0, "layers": {"trunk": "trunk.0"}}, "attention needs layers that give maps"),
        ({"cache": "x", "mixup": 0.2}, "`mixup` blends new samples"),
    ],
)  # fmt: skip
def test_bad_options_are_named(teacher, options, says):
    with pytest.raises(ValueError, match=says):
        made(teacher, **options)


def test_teachers_that_do_not_fit_are_refused(teacher, tmp_path):
    with pytest.raises(ValueError, match="the teacher has 10 classes, the data have 7"):
        DistillModule(SHAPE, 7, teacher=teacher)
    with pytest.raises(ValueError, match="classes that the teacher lacks: ant; it has 0, 1"):
        DistillModule(SHAPE, 2, ["1", "ant"], teacher=teacher)
    with pytest.raises(ValueError, match=r"the teacher takes inputs of shape \(1, 8, 8\), the data have \(1, 28, 28\)"):
        DistillModule((1, 28, 28), 10, teacher=teacher)
    with pytest.raises(ValueError, match="the teacher was trained on inputs normalised by nothing"):
        DistillModule(SHAPE, 10, teacher=teacher, normalisation={"mean": [0.5], "std": [0.5]})
    with pytest.raises(ValueError, match="the teacher's task is classification, the data's is multilabel"):
        DistillModule(SHAPE, 10, task="multilabel", teacher=teacher, dkd_weight=0.0, kd_weight=1.0)
    with pytest.raises(ValueError, match="neither data nor teacher have labels"):
        quiet_trainer(tmp_path, max_epochs=1).fit(DistillModule(SHAPE, None), Digits())
    with pytest.raises(FileNotFoundError, match=r"no teacher at .*missing\.ckpt"):
        DistillModule(SHAPE, 10, teacher=str(tmp_path / "missing.ckpt"))


def test_another_teacher_is_noticed_when_training_goes_on(teacher, tmp_path):
    mine = tmp_path / "mine.ckpt"
    mine.write_bytes(Path(teacher).read_bytes())
    module, _, _ = fitted(tmp_path, str(mine), epochs=1)
    mine.write_bytes(Path(trained_teacher(tmp_path, epochs=1)).read_bytes())
    again = DistillModule(**module.hparams)
    with pytest.raises(ValueError, match="is not the one this student was trained with"):
        quiet_trainer(tmp_path, max_epochs=1).fit(again, Digits())


# Its outputs on disk -------------------------------------------------------------------------------------------------

EVERYTHING = {"kd_weight": 1.0, "hint_weight": 0.1, "rkd_weight": 1.0, "layers": LAYERS}


@pytest.mark.parametrize(
    "options, views", [({}, 1), ({"crop": 1, "flip": True, "jitter": 0.2, "views": 2}, 2)], ids=["plain", "augmented"]
)
def test_from_the_disk_or_asked_the_losses_are_the_same_bit_for_bit(teacher, tmp_path, options, views):
    epochs = 2 * views  # all views are written, and read
    options = {"labels_per_class": 30, "labelled_only": True, **options}  # three batches
    _, _, online = fitted(tmp_path, teacher, Digits(**options), epochs, **EVERYTHING)
    for run in range(2):  # the second asks nothing at all
        module, data = made(teacher, Digits(**options), cache=str(tmp_path / "cache"), **EVERYTHING)
        asked, curve = [], Curve()
        module.teacher.register_forward_hook(lambda *_, asked=asked: asked.append(1))
        quiet_trainer(tmp_path, max_epochs=epochs, limit_val_batches=0, callbacks=[curve]).fit(module, data)
        assert curve.losses == online
        assert len(asked) == (len(online) // 2 if run == 0 else 0)
    assert len(list((tmp_path / "cache").iterdir())) == views


def test_a_resumed_run_goes_on_with_the_cache(teacher, tmp_path):
    options = {"flip": True, "views": 2}
    whole, _, _ = fitted(tmp_path, teacher, Digits(**options), 4, cache=str(tmp_path / "a"))

    class SaveInTheMiddle(pl.Callback):
        def on_train_batch_end(self, trainer, *_):
            if trainer.global_step == 14:
                trainer.save_checkpoint(tmp_path / "middle.ckpt")

    module, data = made(teacher, Digits(**options), cache=str(tmp_path / "b"))
    quiet_trainer(tmp_path, max_epochs=4, callbacks=[SaveInTheMiddle()]).fit(module, data)
    for folder in ("b", "c"):  # one that knows both views, and one that knows none
        module, data = made(teacher, Digits(**options), cache=str(tmp_path / folder))
        fit = quiet_trainer(tmp_path, max_epochs=4)
        fit.fit(module, data, ckpt_path=tmp_path / "middle.ckpt", weights_only=True)
        for name, value in whole.state_dict().items():
            assert torch.equal(module.state_dict()[name], value), name


@pytest.mark.parametrize(
    "data, options, says",
    [
        ({}, {"teacher": "other"}, "another teacher"),
        ({"val_fraction": 0.2}, {}, "other data"),
        ({"flip": True, "views": 1}, {}, "another augmentation"),
        ({}, {"rkd_weight": 1.0}, "other outputs"),
    ],
)
def test_a_cache_made_with_something_else_is_refused(teacher, tmp_path, data, options, says):
    fitted(tmp_path, teacher, epochs=1, cache=str(tmp_path / "cache"))
    other = trained_teacher(tmp_path, epochs=1) if options.pop("teacher", "") else teacher
    with pytest.raises(ValueError, match=f"{says}: delete them, or name another folder"):
        fitted(tmp_path, other, Digits(**data), 1, cache=str(tmp_path / "cache"), **options)


def test_other_labels_and_batches_are_no_other_data(teacher, tmp_path):
    fitted(tmp_path, teacher, epochs=1, cache=str(tmp_path / "cache"))
    (written,) = (tmp_path / "cache").iterdir()
    before = written.stat()
    fitted(tmp_path, teacher, Digits(labels_per_class=3, batch_size=50), 1, cache=str(tmp_path / "cache"))
    after = written.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)  # read, not written again
    assert list((tmp_path / "cache").iterdir()) == [written]


def test_a_cache_needs_to_know_how_many_views_there_are(teacher, tmp_path):
    with pytest.raises(ValueError, match=r"`data\.augmentation_period` N"):
        fitted(tmp_path, teacher, Digits(flip=True), cache=str(tmp_path / "cache"))
    module, data = made(teacher, cache=str(tmp_path / "cache"))
    batch = first_batch(data)
    pairs = DataLoader(TensorDataset(batch["input"], batch["label"]), batch_size=32)
    with pytest.raises(ValueError, match="a cache needs a datamodule that numbers its samples"):
        quiet_trainer(tmp_path, max_epochs=1).fit(module, pairs)


TWO = """
from test_distill import Digits, fitted
options = {{"devices": 2, "strategy": "ddp"}}
for run in "ab":
    module, fit, losses = fitted({folder!r}, {teacher!r}, Digits(batch_size=32, **{data}), 3, options, kd_weight=1.0,
                                 crd_weight=0.1, cache={folder!r} + "/cache")
    fit.save_checkpoint({folder!r} + f"/{{run}}.ckpt")
"""


@pytest.mark.long
@pytest.mark.parametrize("data", [{}, {"flip": True, "views": 1}])
def test_two_processes_share_a_cache(two_processes, teacher, tmp_path, data):
    two_processes(TWO, teacher=teacher, data={"labels_per_class": 20, "labelled_only": True, **data})
    files = {path.name for path in (tmp_path / "cache").iterdir()}
    assert files == {f"view-000-{rank}-of-2.safetensors" for rank in (0, 1)}
    first, second = (torch.load(tmp_path / f"{run}.ckpt", weights_only=True)["state_dict"] for run in "ab")
    assert first.keys() == second.keys() and all(torch.equal(value, second[name]) for name, value in first.items())


@pytest.mark.long
def test_two_processes_agree_with_one(two_processes, teacher, tmp_path):
    everything = 'kd_weight=1.0,\n                                 crd_weight=0.1, cache={folder!r} + "/cache"'
    script = TWO.replace(everything, "kd_weight=1.0")
    assert script != TWO
    two_processes(script.replace("3, options", "1, options"), teacher=teacher, data={})
    one, _, _ = fitted(tmp_path, teacher, Digits(batch_size=64), 1, kd_weight=1.0)
    two = torch.load(tmp_path / "a.ckpt", weights_only=True)["state_dict"]
    for name, value in one.state_dict().items():
        torch.testing.assert_close(two[name], value, rtol=1e-3, atol=1e-3)

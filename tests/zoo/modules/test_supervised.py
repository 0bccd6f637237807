"""What fine-tuning, distillation and adaptation have in common, and what a subclass of somebody's may change."""

import abc
import inspect
import io

import pytest
import torch
from conftest import quiet_trainer
from torch.utils.data import DataLoader, TensorDataset

from datamodules.images import Digits
from zoo import AutoencoderModule, DistillModule, FinetuneModule, SOMModule

SHAPE = (1, 8, 8)
SMALL = {"name": "conv", "width": 8}


def pairs(classes=2):
    x = torch.rand(40, *SHAPE, generator=torch.Generator().manual_seed(0))
    return DataLoader(TensorDataset(x, torch.arange(40) % classes), 20)


def saved(module, folder):
    trainer = quiet_trainer(folder)
    trainer.strategy.connect(module)
    trainer.save_checkpoint(folder / "a.ckpt")
    return folder / "a.ckpt"


def test_a_subclass_with_a_loss_of_its_own_is_evaluated(tmp_path):
    class Own(FinetuneModule):
        def loss(self, batch):
            output = self(batch["input"])
            return torch.nn.functional.multi_margin_loss(output, batch["label"]), {}

    trainer = quiet_trainer(tmp_path)
    trainer.fit(Own(SHAPE, 2, backbone=SMALL), pairs(), pairs())
    assert 0 <= trainer.callback_metrics["val/score"] <= 1


def test_a_subclass_with_a_forward_of_its_own_is_scored_by_it(tmp_path):
    class AlwaysTwo(FinetuneModule):
        def forward(self, x):
            return torch.nn.functional.one_hot(torch.full((len(x),), 1), 2).float()

    trainer = quiet_trainer(tmp_path)
    x = torch.rand(20, *SHAPE)
    found = trainer.validate(
        AlwaysTwo(SHAPE, 2, backbone=SMALL), DataLoader(TensorDataset(x, torch.zeros(20).long()), 20), verbose=False
    )
    assert found[0]["val/score"] == 0


def test_a_checkpoint_of_another_task_with_as_many_outputs_brings_its_task(tmp_path):
    torch.manual_seed(0)
    module = FinetuneModule(SHAPE, 1, task="regression", backbone=SMALL)
    module.target_mean.fill_(50.0)
    x = torch.rand(6, *SHAPE)
    expected = module.eval()(x)
    other = FinetuneModule(SHAPE, backbone=SMALL)  # data without labels: a classification of nothing
    found = quiet_trainer(tmp_path).predict(
        other, DataLoader(x, 3), ckpt_path=saved(module, tmp_path), weights_only=True
    )
    torch.testing.assert_close(torch.cat(found), expected)


def test_a_checkpoint_does_not_name_modules_to_import(tmp_path, monkeypatch):
    (tmp_path / "side_effect.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    checkpoint = torch.load(saved(FinetuneModule(SHAPE, 2, backbone=SMALL), tmp_path), weights_only=True)
    checkpoint["hyper_parameters"]["task"] = "side_effect.Task"
    torch.save(checkpoint, tmp_path / "b.ckpt")
    with pytest.raises(ValueError, match=r"names the task 'side_effect\.Task': import its module first"):
        FinetuneModule.load_from_checkpoint(tmp_path / "b.ckpt")


def test_a_distilled_student_may_be_fine_tuned_further(tmp_path):
    torch.manual_seed(0)
    student = DistillModule(SHAPE, 2, backbone=SMALL, teacher="conv")
    loaded = FinetuneModule.load_from_checkpoint(saved(student, tmp_path)).eval()
    x = torch.rand(3, *SHAPE)
    assert torch.equal(loaded(x), student.eval()(x))


def test_a_trained_student_is_tested_without_its_teacher(tmp_path):
    from callbacks.predictions.distillation_comparison import DistillationComparison

    teacher = saved(FinetuneModule(SHAPE, 10, Digits().class_names, backbone=SMALL), tmp_path).rename(
        tmp_path / "teacher.ckpt"
    )
    student = DistillModule(SHAPE, 10, Digits().class_names, backbone=SMALL, teacher=str(teacher))
    path = saved(student, tmp_path)
    teacher.unlink()
    trainer = quiet_trainer(tmp_path, callbacks=[DistillationComparison()])
    found = trainer.test(DistillModule.load_from_checkpoint(path), Digits(), verbose=False)[0]
    assert "test/score" in found and "test/teacher_score" not in found


# Options and methods under older names


def test_a_subclass_may_have_an_option_by_an_older_name_of_a_parents():
    class Mine(SOMModule):
        def __init__(self, rate=0.1, **options):
            super().__init__((6,), rows=2, columns=3, **options)
            self.mine = rate

    module = Mine(rate=0.3)
    assert module.mine == 0.3 and module.hparams.lr == 0.5

    class Shifted(Digits):
        def __init__(self, crop=5, **options):
            super().__init__(**options)
            self.mine = crop

    data = Shifted(crop=3)
    assert data.mine == 3 and data.shift == 0


def test_a_subclass_may_define_a_method_by_its_older_name(tmp_path):
    class Sevens(SOMModule):
        def winners(self, x):
            return torch.full((len(x),), 7)

    module = Sevens((6,), rows=3, columns=3)
    assert module.predict(torch.zeros(2, 6)).tolist() == [7, 7]
    assert SOMModule((6,), rows=3, columns=3).winners(torch.zeros(1, 6)).shape == (1,)


def test_signatures_abstract_classes_and_file_objects():
    assert "latent_dim" in inspect.signature(AutoencoderModule).parameters

    class Abstract(AutoencoderModule, abc.ABC):
        pass

    torch.manual_seed(0)
    module, file = SOMModule((6,), rows=2, columns=3), io.BytesIO()
    checkpoint = {"state_dict": module.state_dict(), "hyper_parameters": dict(module.hparams)}
    module.on_save_checkpoint(checkpoint)
    torch.save({**checkpoint, "pytorch-lightning_version": "2.6.0"}, file)
    file.seek(0)
    assert torch.equal(SOMModule.load_from_checkpoint(file).units, module.units) and Abstract(SHAPE)

import pytest
import torch
from conftest import quiet_trainer
from PIL import Image

from callbacks.samples.animation import TrainingAnimation
from datamodules.images import Digits
from zoo import AutoencoderModule, VQVAEModule


def animation(folder, epochs, module=None, **options):
    callback = TrainingAnimation(side=3, **options)
    trainer = quiet_trainer(folder, max_epochs=epochs, limit_train_batches=1, limit_val_batches=1, callbacks=[callback])
    trainer.fit(module or AutoencoderModule((1, 8, 8)), Digits())
    return callback


def test_a_frame_of_the_same_noise_for_each_validation(tmp_path):
    callback = animation(tmp_path, 3)
    assert [(frame.epoch, frame.step) for frame in callback.frames] == [(1, 1), (2, 2), (3, 3)]
    assert callback.frames[0].images.shape == (9, 1, 8, 8)
    first, last = (frame.images.float() for frame in (callback.frames[0], callback.frames[-1]))
    assert 0 < (first - last).abs().mean() < (first - last.roll(1, 0)).abs().mean()  # changed, but still its own
    with Image.open(tmp_path / "training.gif") as image:
        assert image.n_frames == 3 and image.info["loop"] == 0
    with Image.open(tmp_path / "training.png") as image:
        assert min(image.size) > 200
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_a_long_animation_is_thinned_evenly_and_ends_with_the_end(tmp_path):
    callback = animation(tmp_path, 12, frames=4)
    assert [frame.epoch for frame in callback.frames] == [1, 5, 9, 12]
    with Image.open(tmp_path / "training.gif") as image:
        assert image.n_frames == 4


def test_filming_does_not_change_the_training(tmp_path):
    states = []
    for callbacks in ([], [TrainingAnimation(every_n_epochs=1)]):
        torch.manual_seed(0)
        module = AutoencoderModule((1, 8, 8))
        quiet_trainer(tmp_path, max_epochs=2, limit_train_batches=3, callbacks=callbacks).fit(module, Digits())
        states.append(module.state_dict())
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


@pytest.mark.parametrize("module", [AutoencoderModule((1, 8, 8), variant="plain"), VQVAEModule((1, 8, 8))])
def test_nothing_for_modules_that_do_not_sample(module, tmp_path):
    assert animation(tmp_path, 1, module).frames == [] and not list(tmp_path.glob("training.*"))


@pytest.mark.parametrize("options", [{"side": 0}, {"frames": 1}, {"every_n_epochs": -1}])
def test_wrong_options(options):
    with pytest.raises(ValueError, match="got"):
        TrainingAnimation(**options)

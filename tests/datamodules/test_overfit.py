"""``overfit_batches``: the same batches in every epoch, augmented alike."""

import lightning.pytorch as pl
import torch
from conftest import quiet_trainer

from datamodules.images import Digits
from zoo import AutoencoderModule


class Seen(pl.Callback):
    def __init__(self):
        self.batches = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.batches.append(batch["input"].clone())


def test_each_epoch_has_the_same_batches():
    seen = Seen()
    trainer = quiet_trainer(max_epochs=2, overfit_batches=2, callbacks=[seen])
    trainer.fit(AutoencoderModule((1, 8, 8)), Digits(shift=1))
    first, second = seen.batches[:2], seen.batches[2:]
    assert len(second) == 2 and all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert not torch.equal(*first)

import lightning.pytorch as pl
import pytest
import torch
from conftest import quiet_trainer

from datamodules.domains import Domains
from zoo import AdaptModule, load_encoder, save_encoder
from zoo.functional.adapt import domain_loss, ramp
from zoo.networks.encoder import Encoder

SHAPE = (3, 8, 8)
METHODS = ("none", "adabn", "coral", "dann", "cdan", "adamatch")


def fitted(folder, epochs=1, data=None, **options):
    pl.seed_everything(0, verbose=False)
    module = AdaptModule(SHAPE, 10, **options)
    fit = quiet_trainer(folder, max_epochs=epochs)
    data = data or Domains()
    fit.fit(module, data)
    return module, fit, data


@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains_and_loads(method, tmp_path):
    module, fit, _ = fitted(tmp_path, method=method)
    assert torch.isfinite(fit.callback_metrics["train/loss"])
    assert ("train/domain" in fit.callback_metrics) == (method in ("coral", "dann", "cdan", "adamatch"))
    fit.save_checkpoint(tmp_path / "a.ckpt")
    loaded = AdaptModule.load_from_checkpoint(tmp_path / "a.ckpt").eval()
    x = torch.rand(4, *SHAPE)
    assert torch.equal(loaded(x), module.eval()(x))
    encoder = load_encoder(tmp_path / "a.ckpt")  # without the critic
    torch.testing.assert_close(encoder(encoder.preprocess(x)), module.encode(x))


@pytest.mark.long
@pytest.mark.nightly
def test_adapting_helps(tmp_path):
    """Digits on photographs, learned from plain ones."""
    scores = {}
    for method in ("none", "adamatch"):
        module, fit, data = fitted(tmp_path, epochs=40, method=method)
        scores[method] = fit.test(module, data, verbose=False)[0]["test/score"]
    assert scores["adamatch"] > scores["none"] + 0.1, scores


def statistics(module, name="running_mean"):
    return {k: v.clone() for k, v in module.encoder.state_dict().items() if name in k}


def test_adabn_has_the_statistics_of_the_target_and_the_weights_of_the_source(tmp_path):
    plain, _, _ = fitted(tmp_path, method="none", lr=1e-12)
    adabn, _, data = fitted(tmp_path, method="adabn", lr=1e-12)  # nothing moves but statistics
    images = data.target.splits["train"].images / 255
    source = (data.source.splits["train"].images / 255).expand(-1, 3, -1, -1)
    layer = adabn.encoder.trunk[0][0]
    for module, pictures in ((plain, source), (adabn, images)):
        expected = layer(module.encoder.preprocess(pictures)).mean((0, 2, 3))
        found = statistics(module)["trunk.0.1.running_mean"]
        assert (found - expected).abs().max() < 0.15 * expected.abs().max()
    adabn, _, _ = fitted(tmp_path, method="adabn")
    plain, _, _ = fitted(tmp_path, method="none")
    for name, value in plain.named_parameters():
        torch.testing.assert_close(adabn.get_parameter(name), value)


def test_the_critic_learns_and_features_go_against_it():
    torch.manual_seed(0)
    module = AdaptModule(SHAPE, 10, method="dann").train()
    x = torch.rand(8, *SHAPE)
    features = module.encode(torch.cat([x, 0.5 * x])).detach().requires_grad_()

    module._progress = 0.5
    module._alignment(features, module.head(features)).backward()
    critic = module.critic[0].weight.grad.clone()
    module.critic.zero_grad()
    again = features.detach().requires_grad_()
    domain_loss(module.critic(again).squeeze(1)).backward()
    torch.testing.assert_close(critic, module.critic[0].weight.grad)
    torch.testing.assert_close(features.grad, -ramp(0.5) * again.grad)


def test_a_trained_encoder_is_taken(tmp_path):
    encoder = Encoder({"name": "conv", "norm": "batch", "width": 8}, SHAPE, 4)
    save_encoder(encoder, tmp_path / "saved")
    module = AdaptModule(SHAPE, 10, backbone=str(tmp_path / "saved"))
    assert torch.equal(module.encoder.trunk[0][0].weight, encoder.trunk[0][0].weight)


def test_mistakes_are_named(tmp_path):
    with pytest.raises(ValueError, match="adabn needs batch norms, and 'conv' has none"):
        AdaptModule(SHAPE, 10, backbone="conv", method="adabn")
    with pytest.raises(ValueError, match="threshold must be 0 to 1"):
        AdaptModule(SHAPE, 10, threshold=2)
    with pytest.raises(ValueError, match="domain adaptation is for `task` classification; got 'regression'"):
        AdaptModule(SHAPE, 10, task="regression")
    with pytest.raises(TypeError, match="no_such_option"):
        AdaptModule(SHAPE, 10, no_such_option=1)
    batch = {"input": torch.rand(2, *SHAPE), "label": torch.zeros(2, dtype=torch.long)}
    with pytest.raises(ValueError, match="AdaptModule needs 'target' in the batch"):
        AdaptModule(SHAPE, 10).loss(batch)


@pytest.mark.parametrize("method", ["dann", "cdan"])
def test_the_critic_learns(method, tmp_path):
    pl.seed_everything(0, verbose=False)
    module = AdaptModule(SHAPE, 10, method=method)
    before = [p.clone() for p in module.critic.parameters()]
    quiet_trainer(tmp_path, max_steps=3).fit(module, Domains())
    assert not any(torch.equal(p, q) for p, q in zip(module.critic.parameters(), before, strict=True))

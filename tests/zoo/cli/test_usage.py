"""Mistakes are told before anything slow is imported, and nothing that is right is refused."""

import shlex

import pytest

from zoo.cli.shorthand import UsageError, data_at, expand_argv
from zoo.cli.usage import check_usage
from zoo.registry import DATA, MODULES


def check(text):
    words = shlex.split(text)
    check_usage(expand_argv(words), "--module" if "--module" in words else "--model")


@pytest.mark.parametrize(
    "text, says",
    [
        ("--module autoencoder --epochs 5", "'--epochs' (did you mean '--trainer.max_epochs'?)"),
        ("--module autoencoder --lr 5", "'--lr' (did you mean '--module.lr'?)"),
        ("--module som --batch_size 5", "did you mean '--data.batch_size'"),
        ("--module som --seed 5", "did you mean '--seed_everything'"),
        ("--module autoencoder --module.latent_dmi 5", "'--module.latent_dmi' (did you mean '--module.latent_dim'?)"),
        ("fit --model autoencoder --model.latent_dmi 5", "'--model.latent_dmi' (did you mean '--model.latent_dim'?)"),
        ("--module autoencoder --data.batch_sizes 5", "did you mean '--data.batch_size'"),
        ("--module autoencoder --trainer.max_epoch 5", "did you mean '--trainer.max_epochs'"),
        ("--module som --som_map.plane 5", "did you mean '--som_map.planes'"),
        ("--module som --modul.rows 5", "did you mean '--module.rows'"),
        ("--module autoencoder --module.variant vea", "--module.variant: one of plain, "),
        ("--module autoencoder --module.learn_std maybe", "--module.learn_std: true or false is expected"),
        ("--module autoencoder --module.latent_dim many", "--module.latent_dim: a whole number is expected"),
        ("--module autoencoder --data folder", "--data folder needs --data.root ...: Path of the folder"),
        ("--module autoencoder --data folder --data.root nowhere", "--data.root: no folder or file 'nowhere'"),
        ("--module skipgram --data.path nowhere.txt", "--data.path: no folder or file 'nowhere.txt'"),
        ("--module som --data vectors --data.source nowhere.csv", "no folder or file 'nowhere.csv'"),
        ("--module som --data nowhere.csv", "no file or folder 'nowhere.csv'"),
        ("--module som --ckpt_path nowhere.ckpt", "no checkpoint at nowhere.ckpt"),
        ("fit --config nowhere.yaml", "no file 'nowhere.yaml'"),
        ("--module vae", "'vae' is --module autoencoder --module.variant vae"),
    ],
)
def test_what_is_wrong_is_said_with_what_was_meant(text, says):
    with pytest.raises(UsageError) as error:
        check(text)
    assert says in str(error.value)


@pytest.mark.parametrize(
    "text",
    [
        *(f"--module {name} {example}" for name, entry in MODULES.items() for example in entry.examples
          if "runs/" not in example),
        *(f"--module autoencoder --data {name}" for name in DATA if name != "folder"),
        "--module AutoencoderModule --module.lr .inf --module.std 1e-3 --module.network '{name: conv}'",
        "--module som --module.moves 3 --data.crop 1 --training_film.side 5",  # old names
        "--module autoencoder --data.labels_per_class null --trainer.callbacks+=LearningRateMonitor",
        "--module autoencoder --trainer.logger.class_path x --trainer.logger.init_args.name -1 --checkpoint.dirpath x",
        "fit --model my.Module --model.anything 3 --data my.Data --data.x=y",
        "test --module autoencoder --ckpt_path best --print_config=skip_null --verbose true",
        'fit --model \'{"class_path": "my.Module"}\' --model.init_args.x 3',
    ],
)  # fmt: skip
def test_what_is_right_passes(text):
    check(text)


@pytest.mark.parametrize(
    "content, says",
    [
        (b"\x9d\xff\x00", "is no YAML file: not text in UTF-8"),
        (b"a: [1", ", line 1: expected ',' or ']'"),
        (b"a: 1\nmodel: !!python/object/apply:os.system [ls]\n", ", line 2: could not determine a constructor"),
        (b"", "is empty; a run's config.yaml shows"),
        (b"- 1\n", "holds no options by name"),
        (b"\x00", "special characters are not allowed"),
    ],
)
def test_files_of_options_that_are_none_are_named(tmp_path, content, says):
    path = tmp_path / "a.yaml"
    path.write_bytes(content)
    with pytest.raises(UsageError) as error:
        check(f"fit --config {path}")
    assert str(path) in str(error.value) and says in str(error.value) and "\n" not in str(error.value)


def test_paths_are_data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for file in (
        "photos/a/1.jpg",
        "texts/b.txt",
        "table.CSV",
        "story.txt.gz",
        "both/1.png",
        "both/readme.txt",
        "no.xyz",
    ):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    assert data_at("photos", "digits") == ("folder", "--data.root=photos")
    assert data_at("photos/", "corpus") == ("folder", "--data.root=photos/")
    assert data_at("table.CSV", "digits") == ("vectors", "--data.source=table.CSV")
    assert data_at("texts", "digits") == data_at("texts", "corpus") == ("corpus", "--data.path=texts")
    assert data_at("story.txt.gz", "digits") == ("corpus", "--data.path=story.txt.gz")
    assert data_at("no.xyz", "corpus") == ("corpus", "--data.path=no.xyz")
    assert [data_at("both", data)[0] for data in ("digits", "corpus")] == ["folder", "corpus"]
    assert data_at("digits", "") is data_at("my.Data", "") is None
    with pytest.raises(UsageError, match=r"nothing in 'no.xyz' can be read; there are: folder \(.jpg"):
        data_at("no.xyz", "digits")
    found = expand_argv(["--module", "autoencoder", "--data", "photos", "--data.size", "16"])
    assert found[-4:] == [f"--data={DATA['folder'].path}", "--data.root=photos", "--data.size", "16"]
    assert not any(word.startswith("--trainer.max_") for word in found), "its length follows its size"

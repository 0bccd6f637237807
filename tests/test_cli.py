"""The command line: what is spelled out, what a run leaves behind, and one line for every mistake."""

import csv
import pickle
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from conftest import ROOT
from PIL import Image
from sklearn.datasets import load_digits

from zoo.cli.commands import listing
from zoo.cli.shorthand import UsageError, expand_argv
from zoo.io.encoder import load_encoder
from zoo.registry import DATA, MODULES

AE = "--model=zoo.modules.autoencoder.AutoencoderModule"
QUICK = ("--trainer.max_epochs=1", "--trainer.limit_train_batches=2")
UNMEASURED = ("--trainer.limit_val_batches=0", "--trainer.limit_test_batches=0")  # nor drawn: that takes longest
IRIS = ("--module", "autoencoder", "--module.network=mlp", "--data", "vectors", "--data.source=iris")


def one_line(process, status):
    """The process failed with this status and a single line, which is returned."""
    lines = [line for line in process.stderr.splitlines() if line.startswith("error:")]
    assert process.returncode == status, process.stderr
    assert len(lines) == 1 and "Traceback" not in process.stderr, process.stderr
    return lines[0]


@pytest.fixture(scope="module")
def iris_run(run_python, tmp_path_factory):
    """The folder of a finished run, for what is done with one whatever it has learned."""
    folder = tmp_path_factory.mktemp("iris")
    done = run_python(ROOT / "train.py", *IRIS, *QUICK, "--module.beta=2", "--module.latent_dim=7", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "runs/autoencoder-vectors/1"


def test_short_names_are_spelled_out():
    digits = "--data=datamodules.images.Digits"
    assert expand_argv(["--module", "autoencoder"]) == ["fit", "--trainer.max_epochs=80", AE, digits]
    assert expand_argv(["test", "--module=autoencoder"]) == ["test", AE, digits]
    assert expand_argv(["fit", "--model", "autoencoder"]) == ["fit", AE]


@pytest.mark.parametrize("name", ["fashion-mnist", "fashion_mnist"])
def test_data_names_take_hyphen_or_underscore(name):
    assert "--data=datamodules.images.FashionMNIST" in expand_argv(["--module", "autoencoder", "--data", name])


def test_module_options_are_an_alias_and_users_options_come_last():
    spelled = expand_argv(["--module", "autoencoder", "--module.beta", "4", "--trainer.max_epochs", "3"])
    assert spelled[-4:] == ["--model.beta", "4", "--trainer.max_epochs", "3"]
    assert "--trainer.max_epochs=80" not in spelled  # a default length may be in steps: both would count


def test_lightnings_own_forms_pass_unchanged():
    argv = ["fit", "--config", "a.yaml", "--model", "my.Module", "--data", "my.Data", "--model.x", "1"]
    assert expand_argv(argv) == ["fit", "--config", "a.yaml", "--model=my.Module", "--data=my.Data", "--model.x", "1"]


@pytest.mark.parametrize("kind, argv", [("module", ["--module", "autoencodr"]), ("data", ["--data", "digit"])])
def test_unknown_names_propose_the_nearest_and_list_all(kind, argv):
    table = MODULES if kind == "module" else DATA
    with pytest.raises(UsageError, match=f"unknown {kind}.*did you mean") as error:
        expand_argv(argv)
    assert all(name in str(error.value) for name in table)


def test_list_names_everything_in_a_line_each():
    lines = listing().splitlines()
    for name in (*MODULES, *DATA):
        assert sum(line.split()[0] == name for line in lines) == 1


def test_help_and_list_need_no_lightning():
    code = "import sys; from zoo.cli import main; main(sys.argv[1:]); assert 'lightning' not in sys.modules"
    for argument in ("--help", "list"):
        done = subprocess.run([sys.executable, "-c", code, argument], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0 and "autoencoder" in done.stdout, done.stderr


def test_the_main_job_leaves_everything_behind(train, tmp_path):
    done = train("--module", "autoencoder", *QUICK, "--sample_grid.rows=2", "--module.latent_dim", "5")
    assert done.returncode == 0, done.stderr
    assert "Did pretraining pay?" in done.stdout and "best.ckpt" in done.stdout
    run = tmp_path / "runs/autoencoder-digits/1"
    for name in ("config.yaml", "metrics.csv", "checkpoints/best.ckpt", "checkpoints/last.ckpt", "latent_map.png"):
        assert (run / name).stat().st_size > 0
    for name in ("reconstructions", "samples", "interpolations"):
        assert (run / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    assert load_encoder(run / "encoder")(torch.zeros(3, 1, 8, 8)).shape == (3, 5)
    rows = list(csv.DictReader((run / "metrics.csv").open()))
    assert any(row.get("val/loss") for row in rows) and any(row.get("train/loss") for row in rows)


def test_a_finished_run_is_repeated_tested_validated_and_predicts(train, iris_run, tmp_path):
    again = train("fit", "--config", iris_run / "config.yaml")
    assert again.returncode == 0, again.stderr
    repeated = tmp_path / "runs/autoencoder-vectors/1"
    first, second = (yaml.safe_load((run / "config.yaml").read_text()) for run in (iris_run, repeated))
    assert first == second
    best, last = (("--ckpt_path", iris_run / f"checkpoints/{name}.ckpt") for name in ("best", "last"))
    shutil.copy(best[1], tmp_path / "mine.ckpt")
    tested = train("test", *IRIS, "--ckpt_path", "mine.ckpt")
    assert tested.returncode == 0 and "Did pretraining pay?" in tested.stdout, tested.stderr
    told = re.search(r"next +python train\.py (.*--module\.backbone mine\.ckpt)$", tested.stdout, re.M)
    tried = train(*told[1].split(), "--data", "vectors", "--data.source", "iris", "--trainer.fast_dev_run=true")
    assert tried.returncode == 0, tried.stderr
    predicted = train("predict", *IRIS, *best)
    assert predicted.returncode == 0, predicted.stderr
    validated = train("validate", "--config", iris_run / "config.yaml", *last)
    assert validated.returncode == 0 and "val/loss" in validated.stdout, validated.stderr


@pytest.mark.parametrize(
    "options",
    [
        ["--trainer.fast_dev_run=true"],
        ["--trainer.logger=false"],
        ["--trainer.enable_checkpointing=false"],
        ["--trainer.limit_val_batches=0"],
        ["--trainer.enable_progress_bar=false", "--trainer.precision=bf16-mixed", "--trainer.gradient_clip_val=1"],
        ["--trainer.val_check_interval=1", "--module.schedule=cosine", "--trainer.callbacks+=LearningRateMonitor"],
    ],
    ids=lambda options: options[0],
)
def test_trainer_flags_work(train, options):
    done = train(*IRIS, *QUICK, *options)
    assert done.returncode == 0 and "autoencoder on vectors" in done.stdout, done.stderr


def test_the_last_checkpoint_is_of_the_last_epoch_also_when_it_was_no_better(train, tmp_path):
    folder = tmp_path / "elsewhere"
    still = ("--module.lr=1e-30", "--trainer.max_epochs=3", "--trainer.limit_train_batches=2")
    done = train(*IRIS, *still, f"--checkpoint.dirpath={folder}")
    assert done.returncode == 0, done.stderr
    epochs = [torch.load(folder / f"{name}.ckpt", weights_only=True)["epoch"] for name in ("best", "last")]
    assert epochs == [0, 2] and f"{folder.name}/best.ckpt" in done.stdout


def test_classes_may_be_given_by_bare_name(train, tmp_path):
    done = train("fit", "--model", "AutoencoderModule", "--data", "Digits", *QUICK, *UNMEASURED)
    assert done.returncode == 0 and (tmp_path / "runs/autoencoder-digits/1/encoder").is_dir(), done.stderr


def test_with_a_checkpoint_the_users_flags_win(train, iris_run, tmp_path):
    shutil.copytree(iris_run, tmp_path / "runs/autoencoder-vectors/1")
    checkpoint = "runs/autoencoder-vectors/1/checkpoints/last.ckpt"
    done = train(*IRIS, *UNMEASURED, "--ckpt_path", checkpoint, "--module.beta=5", "--trainer.max_epochs=2")
    assert done.returncode == 0, done.stderr
    options = yaml.safe_load((tmp_path / "runs/autoencoder-vectors/2/config.yaml").read_text())["model"]["init_args"]
    assert (options["beta"], options["latent_dim"]) == (5, 7)  # the flag; where there is none, the checkpoint
    model = {"class_path": MODULES["autoencoder"].path, "init_args": {"beta": 3}}
    data = {"class_path": DATA["vectors"].path, "init_args": {"source": "iris"}}
    (tmp_path / "file.yaml").write_text(yaml.safe_dump({"model": model, "data": data}))
    done = train("fit", "--config", "file.yaml", "--ckpt_path", checkpoint, "--print_config")
    options = yaml.safe_load(done.stdout)["model"]["init_args"]
    assert (options["beta"], options["latent_dim"]) == (3, 7)  # what a file says counts as said


@pytest.mark.parametrize(
    "arguments, status, says",
    [
        (["--module", "autoencodr"], 2, "did you mean 'autoencoder'"),
        (["--module", "autoencoder", "--data", "mnits"], 2, "did you mean 'mnist'"),
        (["--module", "autoencoder", "--module.latent_dmi", "3"], 2, "latent_dim"),
        (["--module", "autoencoder", "--data.batch_sizes", "3"], 2, "batch_size"),
        (["--module", "autoencoder", "--trainer.max_epoch", "3"], 2, "max_epochs"),
        (["--module", "autoencoder", "--module.variant", "vea"], 2, "vae"),
        (["--module", "autoencoder", "--module.latent_dim", "0"], 1, "latent_dim"),
        (["--module", "autoencoder", "--module.network", "conf"], 1, "did you mean 'conv'"),
        (["--module", "autoencoder", "--data.labels_per_class", "500"], 1, "class 0 has only"),
        (["--module", "autoencoder", "--data", "folder", "--data.root", "nowhere"], 2, "no folder"),
        (["--module", "autoencoder", "--data", "folder"], 2, "root"),
        (["--module", "autoencoder", "--ckpt_path", "nowhere.ckpt"], 2, "no checkpoint at nowhere.ckpt"),
        (["--module"], 2, "--module needs a value"),
        (["fti", "--module", "autoencoder"], 2, "did you mean 'fit'"),
        (["--module", "autoencoder", "--module.likelihood", "bernoulli", "--data.normalise", "standard"], 1, "unit"),
        (["--module", "autoencoder", "--module.lr", "1e9"], 1, "lower --module.lr"),
    ],
    ids=lambda value: " ".join(value[-2:]) if isinstance(value, list) else None,
)
def test_mistakes_end_in_one_line(train, arguments, status, says):
    assert says in one_line(train(*arguments), status)


def test_an_empty_folder_is_said(train, tmp_path):
    (tmp_path / "empty").mkdir()
    line = one_line(train("--module", "autoencoder", "--data", "folder", "--data.root", "empty"), 1)
    assert "no images under empty" in line


@pytest.mark.parametrize("in_memory", ["true", "false"])
def test_unreadable_pictures_are_left_out_or_stop_the_run(train, tmp_path, in_memory):
    for i in range(12):
        (tmp_path / "photos").mkdir(exist_ok=True)
        Image.new("RGB", (20 + i, 30), (20 * i, 0, 0)).save(tmp_path / f"photos/{i}.png")
    (tmp_path / "photos/broken.png").write_bytes(b"not a picture")
    (tmp_path / "photos/empty.jpg").touch()
    folder = ("--module=autoencoder", "--data=folder", "--data.root=photos", "--data.size=16", *QUICK, *UNMEASURED)
    done = train(*folder, f"--data.in_memory={in_memory}")
    assert done.returncode == 0 and "broken.png" in done.stderr and "empty.jpg" in done.stderr, done.stderr
    line = one_line(train(*folder, f"--data.in_memory={in_memory}", "--data.strict=true"), 1)
    assert "cannot be read as an image" in line and len(line) < 250


def test_missing_data_without_internet_says_where_it_looked(train):
    unreachable = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
    line = one_line(train("--module", "autoencoder", "--data", "mnist", "--data.root", "here", **unreachable), 1)
    assert "here/MNIST/raw" in line and "--data.root" in line


class Trap:
    """Pickles to something that would write a file when it is loaded."""

    def __reduce__(self):
        return open, ("executed", "w")


def test_a_pickle_dressed_up_as_a_checkpoint_is_not_executed(train, tmp_path):
    (tmp_path / "trap.ckpt").write_bytes(pickle.dumps({"state_dict": Trap()}))
    torch.save({"state_dict": Trap()}, tmp_path / "trap2.ckpt")
    for name in ("trap.ckpt", "trap2.ckpt"):
        assert name in one_line(train("--module", "autoencoder", "--ckpt_path", name), 1)
    assert not (tmp_path / "executed").exists()


def test_a_checkpoint_of_another_module_is_refused(train, tmp_path):
    (tmp_path / "mine.py").write_text(
        "from zoo.core.base import ZooModule\n"
        "class Other(ZooModule):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.layer = __import__('torch').nn.Linear(64, 1)\n"
        "    def loss(self, batch):\n"
        "        return self.layer(batch['input'].flatten(1)).square().mean(), {}\n"
        "    def configure_optimizers(self):\n"
        "        return __import__('torch').optim.SGD(self.parameters(), 0.1)\n"
    )
    short = ("--data", "digits", *QUICK, *UNMEASURED)
    made = train("fit", "--model", "mine.Other", *short)  # a class of the user's, not registered
    assert made.returncode == 0, made.stderr
    checkpoint = tmp_path / "runs/other-digits/1/checkpoints/last.ckpt"
    line = one_line(train("--module", "autoencoder", "--ckpt_path", checkpoint), 2)
    assert "Other" in line and "AutoencoderModule" in line


def test_ctrl_c_leaves_a_checkpoint_that_resumes(train, tmp_path):
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "train.py"), *IRIS, "--trainer.max_epochs", "100000"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    run = tmp_path / "runs/autoencoder-vectors/1"
    deadline = time.monotonic() + 120
    while not (run / "checkpoints/last.ckpt").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode != 0 and "Traceback" not in errors, errors
    command = next(line for line in errors.splitlines() if line.startswith("to go on: "))
    words = command.removeprefix("to go on: python train.py ").split()
    step = torch.load(run / "checkpoints/interrupted.ckpt", weights_only=True)["global_step"]
    resumed = train(*words, *UNMEASURED, "--trainer.max_epochs=-1", f"--trainer.max_steps={step + 3}")
    assert resumed.returncode == 0, resumed.stderr
    last = torch.load(tmp_path / "runs/autoencoder-vectors/2/checkpoints/last.ckpt", weights_only=True)
    assert last["global_step"] >= step


def test_the_console_script_is_the_same(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", "from zoo.cli import main; main(['list'])"], capture_output=True, text=True
    )
    assert done.stdout.strip() == listing()


def test_report_of_runs_and_of_none(train, iris_run, tmp_path):
    assert (iris_run / "report.html").is_file()
    run = "runs/autoencoder-vectors/1"
    for copy in (run, "runs/other/7"):
        shutil.copytree(iris_run, tmp_path / copy)
    done = train("report", run, "runs/other/7", "--out", "both.html")
    assert done.returncode == 0 and done.stdout.endswith("open in a browser: both.html\n")
    assert "autoencoder-vectors/1" in (tmp_path / "both.html").read_text()
    for wrong, status, line in (
        (["report"], 2, "say which runs"),
        (["report", "nowhere"], 1, "no folder nowhere"),
        (["report", run, "--uot", "x"], 2, "did you mean '--out'"),
    ):
        done = train(*wrong)
        assert done.returncode == status and line in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.long
@pytest.mark.parametrize("recipe", sorted(path.name for path in (ROOT / "recipes").glob("*.yaml")))
def test_recipes_begin_and_end(train, request, recipe):
    """A batch of each stage; the measured results are in the recipes' own comments."""
    text = (ROOT / "recipes" / recipe).read_text()
    bundled = "images.Digits" in text or "corpus.Corpus" in text
    root = [] if bundled else [f"--data.root={request.getfixturevalue('real_data')}"]
    quick = ("--trainer.fast_dev_run=true", "--trainer.accelerator=cpu")
    done = train("fit", f"--config={ROOT}/recipes/{recipe}", *root, *quick)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("module", ["autoencoder", "vqvae"])
def test_a_network_for_pictures_on_text_says_so(train, module):
    done = train("--module", module, "--data", "corpus")
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].startswith("error: these data have no input_shape")


def test_new_pictures_are_told_apart_by_what_was_learned(train, tmp_path):
    images = load_digits()
    for i in range(12):
        path = tmp_path / "new" / ("deep" if i % 2 else "") / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((images.images[i] * 255 / 16).astype("uint8")).save(path)
    short = ("--module.pretrain_epochs=5", "--trainer.max_epochs=30", *UNMEASURED)
    assert (done := train("--module", "finetune", *short)).returncode == 0, done.stderr
    assert "no backbone is named" in done.stderr
    head = ("predict", "--module", "finetune", "--ckpt_path", "runs/finetune-digits/1/checkpoints/best.ckpt")
    new = (*head, "--data", "folder", "--data.root", "new", "--data.channels", "1", "--data.size")
    done = train(*new, "8")
    assert done.returncode == 0 and "12 predictions in" in done.stdout, done.stderr
    with (tmp_path / "runs/finetune-folder/predict/1/predictions.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    right = [line["class"] == str(images.target[int(Path(line["path"]).stem)]) for line in lines]
    assert len(right) == 12 and sum(right) >= 10
    assert "input_shape [1, 8, 8], these have (1, 16, 16)" in one_line(train(*new, "16"), 1)


def test_export_for_other_tools(train, tmp_path):
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    assert (done := train("--module", "finetune", *QUICK, *UNMEASURED)).returncode == 0, done.stderr
    checkpoint = "runs/finetune-digits/1/checkpoints/best.ckpt"
    done = train("export", checkpoint, "--format", "onnx", "--out", "digits.onnx")
    assert done.returncode == 0 and done.stdout.strip() == "written: digits.onnx", done.stderr
    (logits,) = runtime.InferenceSession(str(tmp_path / "digits.onnx")).run(
        None, {"input": torch.rand(2, 1, 8, 8).numpy()}
    )
    assert logits.shape == (2, 10)
    assert "no layout there" in one_line(train("export", checkpoint, "--format", "state"), 1)
    assert "did you mean 'onnx'" in one_line(train("export", checkpoint, "--format", "onx"), 2)
    assert "say what to export" in one_line(train("export"), 2)
    assert "no encoder at nothing" in one_line(train("export", "nothing"), 1)

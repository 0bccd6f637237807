import csv

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from conftest import quiet_trainer
from sklearn.datasets import load_wine
from sklearn.preprocessing import StandardScaler
from torch.utils.data import DataLoader

from callbacks.predictions.cross_validation import CrossValidation
from datamodules.tabular import Vectors
from zoo import AutoencoderModule, FinetuneModule

TABLE = "length;width;kind\n" + "".join(f"{i};{i * i};{'ab'[i % 2]}\n" for i in range(20))


def written(folder, text, name="table.csv"):
    path = folder / name
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize(
    ("name", "shape", "classes"), [("iris", (4,), 3), ("wine", (13,), 3), ("breast_cancer", (30,), 2)]
)
def test_bundled(name, shape, classes):
    data = Vectors(name)
    assert data.input_shape == shape and data.num_classes == classes == len(data.class_names)
    batch = next(iter(data.train_dataloader()))
    assert batch["input"].shape == (32, *shape) and batch["label"].shape == (32,)


def test_every_row_is_in_one_part_and_training_rows_are_standard():
    data = Vectors("wine", seed=3)
    rows, raw = data.splits.rows, load_wine().data
    back = torch.cat([*rows.values()]).double() * data.splits.std + data.parts.mean
    assert sorted(back[:, 0].tolist()) == pytest.approx(sorted(raw[:, 0].tolist()), rel=1e-6)
    train = rows["train"].double() * data.splits.std + data.parts.mean
    expected = StandardScaler().fit(train.numpy())
    torch.testing.assert_close(data.splits.mean, torch.from_numpy(expected.mean_), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(data.splits.std, torch.from_numpy(expected.scale_), rtol=1e-5, atol=1e-6)
    for label in range(3):  # each class in its proportion
        shares = [(values == label).float().mean().item() for values in data.splits.labels.values()]
        assert max(shares) - min(shares) < 0.1
    other = Vectors("wine", seed=4)
    assert torch.equal(data.table.rows, other.table.rows)
    assert {*map(tuple, data.splits.labels["test"][None].tolist())} == {
        *map(tuple, other.splits.labels["test"][None].tolist())
    }


def test_csv_with_names_and_labels(tmp_path):
    data = Vectors(written(tmp_path, TABLE), label="kind", standardise=False)
    assert data.columns == ["length", "width"] and data.class_names == ["a", "b"]
    assert data.normalisation == {"columns": ["length", "width"]}  # nothing is done, but the order is known
    rows = torch.cat([*data.splits.rows.values()])
    assert sorted(rows.tolist()) == [[i, i * i] for i in range(20)]
    labels = torch.cat([*data.splits.labels.values()])
    assert torch.equal(labels, (rows[:, 0] % 2).long())


def test_csv_without_names(tmp_path):
    path = written(tmp_path, "".join(f"{i}\t{-i}\n" for i in range(10)), "plain.tsv")
    data = Vectors(path, drop=["1"], standardise=False)
    assert data.columns == ["0"] and data.num_classes is None
    assert "label" not in next(iter(data.train_dataloader()))
    assert sorted(torch.cat([*data.splits.rows.values()]).flatten().tolist()) == list(range(10))


def test_arrays(tmp_path):
    x = np.random.default_rng(0).normal(size=(30, 5)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    np.savez(tmp_path / "xy.npz", x=x, y=np.arange(30) % 3 + 10)
    assert Vectors(str(tmp_path / "x.npy")).input_shape == (5,)
    data = Vectors(str(tmp_path / "xy.npz"))
    assert data.class_names == ["10", "11", "12"] and torch.equal(data.table.rows.float(), torch.from_numpy(x))


def test_parquet(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pyarrow.table({"a": [float(i) for i in range(10)], "kind": ["x", "y"] * 5})
    parquet.write_table(table, tmp_path / "t.parquet")
    data = Vectors(str(tmp_path / "t.parquet"), label="kind")
    assert data.columns == ["a"] and data.class_names == ["x", "y"]


def test_a_constant_column_becomes_zero_and_is_named(tmp_path):
    path = written(tmp_path, "a,b\n" + "".join(f"{i},7.1\n" for i in range(10)))
    with pytest.warns(UserWarning, match="columns without variance in .*: 'b'"):
        rows = Vectors(path).splits.rows
    assert all((part[:, 1].abs() < 1e-6).all() and part.isfinite().all() for part in rows.values())


def test_label_budget():
    data = Vectors("iris", labels_per_class=3)
    labels = data.splits.labels["train"]
    assert (labels >= 0).sum() == 9 and len(labels) > 50
    few = Vectors("iris", labels_per_class=3, labelled_only=True)
    assert len(few.splits.rows["train"]) == 9
    torch.testing.assert_close(few.splits.rows["train"], data.parts.rows["train"][labels >= 0])


def test_seeds_order_and_position():
    def order(seed):
        return torch.cat([batch["input"] for batch in Vectors("iris", seed=seed).train_dataloader()])

    assert torch.equal(order(0), order(0)) and not torch.equal(order(0), order(1))
    loader = Vectors("iris").train_dataloader()
    whole = [batch["input"] for batch in loader]
    loader.load_state_dict({"position": 2})
    assert torch.equal(next(iter(loader))["input"], whole[2])


def bad(folder, case):
    lines = TABLE.splitlines()
    if case == "text":
        lines[5] = "4;tall;a"
    elif case == "empty cell":
        lines[5] = "4;;a"
    elif case == "nan":
        lines[5] = "4;nan;a"
    elif case == "short":
        lines[5] = "4;a"
    elif case == "one row":
        lines = lines[:2]
    elif case == "names only":
        lines = lines[:1]
    elif case == "nothing":
        lines = []
    elif case == "one class":
        lines = [line.replace(";b", ";a") for line in lines]
    return written(folder, "\n".join(lines))


@pytest.mark.parametrize(
    ("case", "says"),
    [
        ("text", r"column 'width' has 'tall', which is no number, in row 4 .*: name the column in `data\.label`"),
        ("empty cell", "column 'width' has nothing in row 4"),
        ("nan", "column 'width' is NaN or infinite in row 4"),
        ("short", "line 6 has 2 cells, and the first has 3"),
        ("one row", "has 1 rows: training, validation and test need 5"),
        ("names only", "has no rows"),
        ("nothing", "has no rows"),
        ("one class", r"a single class, 'a': leave `data\.label` out"),
    ],
)
def test_bad_tables_are_said(tmp_path, case, says):
    with pytest.raises(ValueError, match=says):
        _ = Vectors(bad(tmp_path, case), label="kind").splits


def test_other_mistakes(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file 'irirs'.*there are: iris, wine"):
        _ = Vectors("irirs").table
    with pytest.raises(ValueError, match=r"tables end in \.csv"):
        _ = Vectors(written(tmp_path, "a", "x.xlsx")).table
    with pytest.raises(ValueError, match="no column 'colour' for label; there are: length, width, kind"):
        _ = Vectors(written(tmp_path, TABLE), label="colour").table
    with pytest.raises(ValueError, match="iris has its own labels"):
        Vectors("iris", label="0")
    np.save(tmp_path / "objects.npy", np.array([{}, None]), allow_pickle=True)
    with pytest.raises(ValueError, match="not an array of plain numbers"):
        _ = Vectors(str(tmp_path / "objects.npy")).table


@pytest.mark.parametrize(
    ("source", "task"), [("iris", "regression"), ("wine", "multilabel"), ("diabetes", "multilabel")]
)
def test_bundled_tables_are_what_they_are(source, task):
    with pytest.raises(ValueError, match=f"{source} is a (classification|regression): leave `data.task` out"):
        Vectors(source, task=task)


def test_arrays_with_several_labels_a_row(tmp_path):
    x, y = np.random.default_rng(0).normal(size=(30, 4)), np.arange(60.0).reshape(30, 2)
    np.savez(tmp_path / "xy.npz", x=x, y=y)
    data = Vectors(str(tmp_path / "xy.npz"), task="regression")
    assert data.class_names == ["0", "1"] and torch.equal(data.table.labels, torch.from_numpy(y).float())
    with pytest.raises(ValueError, match="2 columns of labels: say what they are of"):
        _ = Vectors(str(tmp_path / "xy.npz")).table


def test_text_among_numbers_to_predict_is_named(tmp_path):
    path = written(tmp_path, "p,y\n" + "".join(f"{i},{'tall' if i == 3 else i}\n" for i in range(9)))
    with pytest.raises(ValueError, match=r"column 'y' has 'tall'.*in row 3 .*: a regression has numbers for labels"):
        _ = Vectors(path, label="y", task="regression").table


def test_a_mistake_is_one_line(train, tmp_path):
    path = bad(tmp_path, "text")
    done = train("--module", "som", "--data", "vectors", "--data.source", path, "--data.label", "kind")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("error: ")
    assert "column 'width' has 'tall'" in done.stderr.replace("\n", " ")


def test_new_rows_are_predicted_as_the_module_learned(train, tmp_path):
    """Standardised by the training table's numbers, and in the file's order."""
    wine = load_wine()
    order = np.random.RandomState(0).permutation(len(wine.data))
    lines = [",".join(map(str, [*wine.data[i], wine.target_names[wine.target[i]]])) for i in order]
    known = written(tmp_path, "\n".join(lines[:140]), "known.csv")
    new = written(tmp_path, "\n".join(line.rpartition(",")[0] for line in lines[140:]), "new.csv")
    short = ("--trainer.max_epochs=15", "--representation.every_n_epochs=0")
    done = train("--module=finetune", "--data=vectors", f"--data.source={known}", "--data.label=13", *short)
    assert done.returncode == 0, done.stderr
    checkpoint = "--ckpt_path=runs/finetune-vectors/1/checkpoints/best.ckpt"
    done = train("predict", "--module=finetune", "--data=vectors", f"--data.source={new}", checkpoint)
    assert done.returncode == 0, done.stderr
    with (tmp_path / "runs/finetune-vectors/predict/1/predictions.csv").open() as file:
        rows = list(csv.reader(file))[1:]
    assert [row[0] for row in rows] == [str(i) for i in range(38)]
    truth = [str(wine.target_names[wine.target[i]]) for i in order[140:]]
    assert np.mean([row[1] == name for row, name in zip(rows, truth, strict=True)]) > 0.9


def test_a_single_row_is_predicted_as_among_others(tmp_path):
    rows = load_wine().data[:9]
    scale = {"mean": rows.mean(0).tolist(), "std": rows.std(0).tolist()}
    table = written(tmp_path, "\n".join(",".join(map(str, row)) for row in rows))
    one = written(tmp_path, ",".join(map(str, rows[3])), "one.csv")
    among, alone = (next(iter(Vectors(t, scale=scale).predict_dataloader()))["input"] for t in (table, one))
    torch.testing.assert_close(alone, among[3:4])
    assert Vectors(one, scale=scale).fingerprint != Vectors(table, scale=scale).fingerprint


def test_a_given_scale_is_used_and_must_fit():
    scale = {"mean": [1.0] * 4, "std": [2.0] * 4}
    data, plain = Vectors("iris", scale=scale), Vectors("iris", standardise=False)
    assert data.normalisation == scale
    torch.testing.assert_close(data.splits.rows["val"], (plain.splits.rows["val"] - 1) / 2)
    batches = torch.cat([batch["input"] for batch in data.predict_dataloader()])
    torch.testing.assert_close(batches, ((plain.table.rows - 1) / 2).float())
    with pytest.raises(ValueError, match=r"4 columns, and `data\.scale` is of 3"):
        _ = Vectors("iris", scale={"mean": [0.0] * 3, "std": [1.0] * 3}).splits
    with pytest.raises(ValueError, match=r"needs `data\.standardise`"):
        Vectors("iris", scale=scale, standardise=False)


def test_an_exported_encoder_knows_the_columns(tmp_path):
    from conftest import quiet_trainer

    from zoo import PCAModule, load_encoder, save_encoder

    pl.seed_everything(0, verbose=False)
    data = Vectors("wine")
    module = PCAModule(data.input_shape, 2, normalisation=data.normalisation)
    quiet_trainer().fit(module, data)
    save_encoder(module.encoder, tmp_path / "e")
    encoder = load_encoder(tmp_path / "e")
    raw = torch.from_numpy(load_wine().data).float()
    scaled = (raw - data.splits.mean.float()) / data.parts.std.float()
    torch.testing.assert_close(encoder(encoder.preprocess(raw)), module.encode(scaled), rtol=1e-4, atol=1e-4)


def test_a_regression_of_columns(tmp_path):
    text = "a,b,price,age\n" + "".join(f"{i},{i % 3},{i / 2},{-i}\n" for i in range(20))
    data = Vectors(written(tmp_path, text), label=["price", "3"], task="regression", standardise=False)
    assert (data.task, data.class_names, data.num_classes, data.columns) == (
        *("regression", ["price", "age"]),
        *(2, ["a", "b"]),
    )
    batch = next(iter(data.train_dataloader()))
    expected = torch.stack([batch["input"][:, 0] / 2, -batch["input"][:, 0]], 1)
    assert torch.equal(batch["label"], expected)
    diabetes = Vectors("diabetes")
    assert (diabetes.task, diabetes.num_classes, diabetes.input_shape) == ("regression", 1, (10,))


def test_several_classes_a_row(tmp_path):
    text = "x,red,green\n" + "".join(f"{i},{i % 2},{int(i > 5)}\n" for i in range(20))
    path = written(tmp_path, text)
    data = Vectors(path, label=["red", "green"], task="multilabel", standardise=False)
    batch = next(iter(data.train_dataloader()))
    x = batch["input"][:, 0]
    assert torch.equal(batch["label"], torch.stack([x % 2, (x > 5).float()], 1)) and data.num_classes == 2
    with pytest.raises(ValueError, match=r"'x' has 2 in row 2 \(from 0\), neither 0 nor 1"):
        Vectors(path, label=["x"], task="multilabel").table  # noqa: B018
    with pytest.raises(ValueError, match="2 columns of labels: say what they are of"):
        Vectors(path, label=["red", "green"]).table  # noqa: B018
    with pytest.raises(ValueError, match="needs labels: say which columns"):
        Vectors(path, task="regression").table  # noqa: B018
    with pytest.raises(ValueError, match=r"`data\.labels_per_class` is for classes; these labels are of a regression"):
        Vectors("diabetes", labels_per_class=3)


def numbers(columns, count=40, mark=",", kind=True):
    """A table of the named columns, of which "size" alone decides the kind."""
    rng = np.random.default_rng(0)
    values = {name: rng.normal(i, 1 + i, count) for i, name in enumerate(["size", "noise", "third"])}
    values["y"] = np.where(values["size"] > 0, "a", "b")
    names = [*columns, "y"] if kind is True else list(columns)
    return "".join(mark.join(map(str, row)) + "\n" for row in [names, *zip(*(values[n] for n in names), strict=True)])


def test_columns_are_matched_by_name(tmp_path):
    known = Vectors(written(tmp_path, numbers(["size", "noise", "third"]), "a.csv"), label="y")
    scale = known.normalisation
    assert scale["columns"] == ["size", "noise", "third"]
    for number, columns in enumerate((["third", "size", "noise"], ["noise", "y", "third", "size"])):
        path = written(tmp_path, numbers(columns, kind=False), f"{number}.csv")
        data = Vectors(path, label="y", scale=scale)
        assert data.columns == scale["columns"] and (data.table.labels is None) == ("y" not in columns)
        torch.testing.assert_close(data.everything, known.everything)
    raw = Vectors(path, label="y", columns=scale["columns"], standardise=False)
    torch.testing.assert_close(raw.everything, known.table.rows.float())


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        (["size", "noise"], "lacks 'third'$"),
        (["size", "noise", "third", "y"], r"has in addition 'y' \(leave them out with `data\.drop`, or if"),
        (["noise", "third", "y"], "lacks 'size' and has in addition 'y'"),
        (["size", "noise", "noise", "third"], "several columns of the same name, 'noise'"),
    ],
)
def test_other_columns_are_named(tmp_path, columns, says):
    scale = {"mean": [0.0] * 3, "std": [1.0] * 3, "columns": ["size", "noise", "third"]}
    with pytest.raises(ValueError, match=says):
        _ = Vectors(written(tmp_path, numbers(columns, kind=False)), scale=scale).table


def test_tables_without_names_are_matched_by_their_number_of_columns(tmp_path, caplog):
    scale = {"mean": [0.0] * 3, "std": [1.0] * 3, "columns": ["size", "noise", "third"]}
    path = written(tmp_path, numbers(["size", "noise", "third"], kind=False).partition("\n")[2])
    assert Vectors(path, scale=scale).columns == scale["columns"] and "in this order" in caplog.text
    with pytest.raises(ValueError, match="has 2 columns, and the module knows 3: 'size', 'noise', 'third'"):
        _ = Vectors(path, scale=scale, drop=["0"]).table


def test_a_module_is_not_served_columns_in_another_order(tmp_path):
    from conftest import quiet_trainer

    from zoo import PCAModule

    data = Vectors(written(tmp_path, numbers(["size", "noise", "third"]), "a.csv"), label="y")
    module = PCAModule(data.input_shape, 2, normalisation=data.normalisation)
    quiet_trainer().fit(module, data)
    other = written(tmp_path, numbers(["noise", "third", "size"]), "b.csv")
    with pytest.raises(ValueError, match=r"trained on columns size, noise, third, .* has noise, third, size"):
        quiet_trainer().predict(module, Vectors(other, label="y"))
    assert not hasattr(DataLoader.__init__, "__wrapped__"), "Lightning's patch, which fails on DataLoader(data, 8)"
    found = quiet_trainer().predict(module, Vectors(other, label="y", scale=module.hparams.normalisation))
    expected = quiet_trainer().predict(module, data)
    torch.testing.assert_close(torch.cat(found), torch.cat(expected))


def test_a_backbone_is_not_given_columns_in_another_order(tmp_path):
    from zoo import FinetuneModule
    from zoo.networks.encoder import Encoder

    encoder = Encoder("mlp", (3,), normalisation={"mean": [0.0] * 3, "std": [1.0] * 3, "columns": ["a", "b", "c"]})
    options = {"input_shape": (3,), "num_classes": 2, "backbone": encoder}
    FinetuneModule(**options, normalisation={"columns": ["a", "b", "c"]})
    with pytest.raises(
        ValueError, match=r"""columns a, b, c, the data have b, a, c: `data\.columns` '\["a", "b", "c"\]'"""
    ):
        FinetuneModule(**options, normalisation={"columns": ["b", "a", "c"]})


def test_another_order_of_columns_on_the_command_line(train, tmp_path):
    known = written(tmp_path, numbers(["size", "noise", "third"]), "known.csv")
    other = written(tmp_path, numbers(["noise", "y", "third", "size"], kind=False), "other.csv")
    bare = written(tmp_path, numbers(["third", "noise", "size"], kind=False), "bare.csv")
    short = ("--module=finetune", "--data=vectors")
    quick = (
        "--module.pretraining=none",
        "--trainer.max_epochs=3",
        "--trainer.limit_val_batches=0",
        "--trainer.limit_test_batches=0",
        "--data.label=y",
        "--data.standardise=false",
    )
    done = train(*short, f"--data.source={known}", *quick)
    assert done.returncode == 0, done.stderr
    checkpoint = "--ckpt_path=runs/finetune-vectors/1/checkpoints/best.ckpt"
    for source in (known, other, bare):
        done = train("predict", *short, f"--data.source={source}", checkpoint)
        assert done.returncode == 0, done.stderr
    first, *others = ((tmp_path / f"runs/finetune-vectors/predict/{i}/predictions.csv").read_text() for i in (1, 2, 3))
    assert len(first.splitlines()) == 41 and all(found == first for found in others)
    wrong = written(tmp_path, numbers(["size", "noise"], kind=False), "wrong.csv")
    done = train("predict", *short, f"--data.source={wrong}", checkpoint)
    assert done.returncode == 1 and "lacks 'third'" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("missing", ["", " ", "NA", "nan", "NaN", "None", "null", "N/A", "<NA>", "-1", "?"])
def test_missing_labels_are_unlabelled(tmp_path, missing, caplog):
    text = "u,v,y\n" + "".join(f"{i}.5,{-i},{[missing, 'a', 'b'][i % 3]}\n" for i in range(30))
    data = Vectors(written(tmp_path, text), label="y")
    assert data.class_names == ["a", "b"] and data.num_classes == 2
    assert data.table.labels.tolist() == [i % 3 - 1 for i in range(30)]
    assert f"10 of 30 labels are missing ({missing.strip()!r})" in caplog.text


def test_missing_labels_of_arrays_and_other_tasks(tmp_path, caplog):
    x = np.random.default_rng(0).normal(size=(30, 4))
    y = np.arange(30) % 3 - 1.0
    np.savez(tmp_path / "a.npz", x=x, y=y.astype(int))
    assert Vectors(str(tmp_path / "a.npz")).table.labels.tolist() == y.tolist()
    np.savez(tmp_path / "b.npz", x=x, y=np.where(y < 0, np.nan, y))
    assert Vectors(str(tmp_path / "b.npz")).table.labels.tolist() == y.tolist()
    values = Vectors(str(tmp_path / "b.npz"), task="regression").table.labels[:, 0]
    assert values.isnan().tolist() == (y < 0).tolist() and values[1:3].tolist() == [0, 1]
    text = "u,v,y,z\n" + "".join(f"{i}.5,{-i},{['NA', 1, 0][i % 3]},{['-1', 1][i % 2]}\n" for i in range(30))
    path = written(tmp_path, text)
    data = Vectors(path, label=["y", "z"], task="multilabel").table.labels
    assert data.isnan().any(1).tolist() == [i % 3 == 0 or i % 2 == 0 for i in range(30)]
    found = Vectors(path, label="z", drop=["y"], task="regression").table.labels[:, 0]
    assert found.tolist() == [[-1, 1][i % 2] for i in range(30)]  # a number like any other
    signs = Vectors(path, label="z", drop=["y"])
    assert signs.class_names == ["-1", "1"] and signs.table.labels.tolist() == [i % 2 for i in range(30)]
    with pytest.raises(ValueError, match="every label is missing"):
        Vectors(written(tmp_path, "u,v,y\n" + "1,2,\n" * 9), label="y").splits  # noqa: B018


@pytest.mark.parametrize(
    ("text", "rows", "columns", "said"),
    [
        ("0,1,2\n" + "0.5,1.5,2.5\n" * 30, 30, ["0", "1", "2"], "taken for names of columns"),
        (",0,1\n" + "".join(f"{i},1.5,2.5\n" for i in range(30)), 30, ["", "0", "1"], "counts the rows"),
        ("year,2001,2002\n" + "7,1.5,2.5\n" * 30, 30, ["year", "2001", "2002"], "taken for names of columns"),
        ("0.5,1,2\n" + "0.5,1.5,2.5\n" * 30, 31, ["0", "1", "2"], "taken for a row"),
        ("1,2,3\n" + "0.5,1.5,2.5\n" * 30, 31, ["0", "1", "2"], "taken for a row"),
    ],
)
def test_what_a_first_line_is_taken_for(tmp_path, text, rows, columns, said, caplog):
    path = written(tmp_path, text)
    table = Vectors(path).table
    assert (len(table.rows), table.columns) == (rows, columns) and said in caplog.text
    if "year" not in text:
        assert len(Vectors(path, header=True).table.rows) == 30
    if columns[0] == "0":
        assert len(Vectors(path, header=False).table.rows) == 31


def test_a_line_with_the_name_of_the_label_has_names(tmp_path, caplog):
    path = written(tmp_path, "1,2,kind\n" + "0.5,1.5,a\n0.1,0.2,b\n" * 9)
    assert Vectors(path, label="kind").columns == ["1", "2"] and not caplog.text


def test_whole_numbers_that_floats_round_are_said(tmp_path, caplog):
    text = "id,v,y\n" + "".join(f"{2**53 + i},{i},{'ab'[i % 2]}\n" for i in range(8))
    _ = Vectors(written(tmp_path, text), label="y").table
    assert "column 'id' has whole numbers beyond 2^53" in caplog.text and "'v'" not in caplog.text
    caplog.clear()
    np.save(tmp_path / "x.npy", np.array([[2**53 + i, i] for i in range(8)]))
    _ = Vectors(str(tmp_path / "x.npy")).table
    assert "column '0' has whole numbers beyond 2^53" in caplog.text


def test_whole_numbers_that_float32_rounds_are_said_or_standardised(tmp_path):
    path = written(tmp_path, "id,v\n" + "".join(f"{2**24 + i},{i}\n" for i in range(20)))
    with pytest.warns(UserWarning, match=r"float32 rounds: 'id'; `data\.standardise` true"):
        _ = Vectors(path, standardise=False).splits
    rows = torch.cat([*Vectors(path).splits.rows.values()])
    assert len(rows[:, 0].unique()) == 20


def test_labels_in_bytes(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.arange(6.0).reshape(3, 2), y=np.array([b"a", b"", b"\xff"]))
    table = Vectors(str(tmp_path / "a.npz")).table
    assert table.classes == ["\\xff", "a"] and table.labels.tolist() == [1, -1, 0]


@pytest.mark.parametrize(
    ("text", "encoding", "columns"),
    [
        ('"size, in cm";"weight, in kg";y\n0.1;-0.2;a\n', "utf-8", ["size, in cm", "weight, in kg"]),
        ("größe,v,y\n0.1,-0.2,a\n", "utf-16", ["größe", "v"]),
        ("größe,v,y\n0.1,-0.2,a\n", "utf-8-sig", ["größe", "v"]),
        ("u;v;y\n0,1;-0,2;a\n", "utf-8", ["u", "v"]),
        ('u,v,y\n"0,1","-0,2",a\n', "utf-8", ["u", "v"]),
        ("u|v|y\n0.1|-0.2|a;b,c\n", "utf-8", ["u", "v"]),
        ("u v y\n0.1 -0.2 a\n", "utf-8", ["u", "v"]),
        ("u,v,y\r0.1,-0.2,a\r", "utf-8", ["u", "v"]),
    ],
)
def test_separators_encodings_and_decimal_commas(tmp_path, text, encoding, columns):
    (tmp_path / "t.csv").write_bytes(text.encode(encoding))
    table = Vectors(str(tmp_path / "t.csv"), label="y").table
    assert table.columns == columns and table.rows.tolist() == [[0.1, -0.2]]


def test_thousands_and_an_encoding_that_is_told(tmp_path):
    table = Vectors(written(tmp_path, 'u;v\n1.234,5;7\n"0,25";8\n')).table
    assert table.rows.tolist() == [[1234.5, 7], [0.25, 8]]
    assert Vectors(written(tmp_path, "u;v\n1,234,567;7\n1,234;8\n")).table.rows[:, 0].tolist() == [1234567, 1234]
    (tmp_path / "t.csv").write_bytes("größe,v\n1,2\n".encode("latin-1"))
    assert Vectors(str(tmp_path / "t.csv"), encoding="latin-1").columns == ["größe", "v"]
    with pytest.raises(ValueError, match=r"`data\.encoding` 'klingon' is not known"):
        Vectors("iris", encoding="klingon")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (
            "u,v\n0.1,2\ngröße,2\n".encode("latin-1"),
            r"line 3 is not utf-8: say which encoding it has, `data\.encoding`",
        ),
        ("u,v\n0.1,2\n".encode("utf-16-le"), r"line 1 has zero bytes: it seems UTF-16 .*`data\.encoding` utf-16-le"),
        (b"u,v\n1,2\n\0\0\0", "line 3 has zero bytes: this is not a file of text"),
        (b"u;v\n1,234;2\n", "line 2 has '1,234': it cannot be told"),
        (b"u;v\n0,5;2\n0.5;2\n", "line 2 has '0,5' and line 3 has '0.5': it cannot be told"),
        (b'u,v\n1,2\n3,"4\n5,6\n', "a quotation mark is never closed, that in line 3 maybe"),
        (b"u,v\n1,2\n1_000,2\n", "column 'u' has '1_000', which is no number, in row 1"),
        (b"u,v\n1,2\n3\n", "line 3 has 1 cells, and the first has 2"),
        (b"u,u,v\n1,2,3\n", "several columns of the same name, 'u'"),
        (b"", "has no rows"),
        (b"u,v\n", "has no rows"),
    ],
)
def test_damaged_tables_are_one_line(tmp_path, content, says):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(ValueError, match=says) as error:
        _ = Vectors(str(tmp_path / "t.csv")).table
    assert "t.csv" in str(error.value) and "\n" not in str(error.value)


def few_rows(tmp_path, count=40, labelled=None):
    rng = np.random.default_rng(0)
    labels = [str(i % 2) if i < (labelled or count) else "" for i in range(count)]
    lines = [f"{x + i % 2:.3f},{y:.3f},{labels[i]}" for i, (x, y) in enumerate(rng.normal(size=(count, 2)))]
    (tmp_path / "few.csv").write_text("\n".join(["a,b,y", *lines]) + "\n")
    return Vectors(str(tmp_path / "few.csv"), label="y")


def sizes(data):
    return {name: len(rows) for name, rows in data.splits.rows.items()}


def finetune(data):
    module = FinetuneModule((2,), 2, data.class_names, backbone="mlp", normalisation=data.normalisation)
    trainer = quiet_trainer(max_epochs=2, callbacks=[CrossValidation(repeats=2)])
    trainer.fit(module, data)
    return trainer, module


def test_few_labels_all_train_and_are_cross_validated(tmp_path, caplog):
    data = few_rows(tmp_path)
    before = data.normalisation
    trainer, module = finetune(data)
    result = trainer.callbacks[0].result
    assert sizes(data) == {"train": 40} and result.labels == 40 and 0 <= result.low < result.score < result.high <= 1
    assert data.normalisation == before and "the 40 labels are few" in caplog.text
    assert trainer.test(module, data, verbose=False) == []
    assert len(torch.cat(trainer.predict(module, data))) == 40  # all rows, in the table's order


def test_unlabelled_rows_take_no_part_where_they_teach_nothing(tmp_path):
    data = few_rows(tmp_path, 100, 30)
    finetune(data)
    assert sizes(data) == {"train": 30}


def test_labels_are_not_few_for_what_does_not_learn_from_them_nor_for_a_test(tmp_path, caplog):
    data = few_rows(tmp_path)
    quiet_trainer(max_epochs=1).fit(AutoencoderModule((2,), network="mlp"), data)
    assert sizes(data) == {"train": 28, "val": 4, "test": 8}
    module = FinetuneModule((2,), 2, data.class_names, backbone="mlp", normalisation=data.normalisation)
    fresh = few_rows(tmp_path)
    assert "test/score" in quiet_trainer().test(module, fresh, verbose=False)[0]
    assert "has seen all of them" in caplog.text

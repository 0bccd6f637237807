import csv

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from sklearn.datasets import load_wine
from sklearn.preprocessing import StandardScaler

from datamodules.tabular import Vectors

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
    assert data.columns == ["length", "width"] and data.class_names == ["a", "b"] and data.normalisation is None
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
    with (tmp_path / "runs/finetune-vectors/2/predictions.csv").open() as file:
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

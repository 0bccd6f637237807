import io
import zipfile

import numpy as np
import pytest

from datamodules.array_files import read_arrays


def npy(array):
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def promising(shape):
    """A file whose header has another shape than its 24 bytes of numbers."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": shape})
    return file.getvalue() + bytes(24)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["f4", ">f8", "i2", "?", "U3"])
def test_arrays_are_numpys(tmp_path, order, dtype):
    x = np.asarray(np.arange(6).reshape(2, 3).astype(dtype), order=order)
    np.save(tmp_path / "x.npy", x)
    np.savez_compressed(tmp_path / "x.npz", x=x, y=x[:0])
    (found,) = read_arrays(tmp_path / "x.npy").values()
    packed = read_arrays(tmp_path / "x.npz")
    for array in (found, packed["x"]):
        assert array.dtype == x.dtype and np.array_equal(array, x)
    assert packed["y"].shape == (0, 3)


BAD = {
    "empty": b"",
    "cut": npy(np.zeros((9, 9)))[:-5],
    "longer": npy(np.zeros((9, 9))) + b"x",
    "header cut": npy(np.zeros((9, 9)))[:40],
    "terabytes": promising((1 << 40, 3)),
    "overflow": promising((1 << 62, 4)),
    "negative": promising((-3, 1)),
    "pickle": npy(np.array([{}, None])),
    "fields": npy(np.zeros(3, dtype=[("a", "f4")])),
    "text": b"1,2,3\n",
    "version": b"\x93NUMPY\x09\x00" + bytes(100),
}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("content", BAD.values(), ids=BAD)
def test_damaged_arrays_are_one_line(tmp_path, content, packed):
    path = tmp_path / ("x.npz" if packed else "x.npy")
    path.write_bytes(content)
    if packed:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("x.npy", content)
    with pytest.raises(ValueError, match=r"x\.np[yz] (cannot be read|is empty)") as error:
        read_arrays(path)
    assert "\n" not in str(error.value)


def test_a_changed_bit_and_a_cut_archive_are_named(tmp_path):
    np.savez_compressed(tmp_path / "good.npz", x=np.random.default_rng(0).normal(size=(50, 4)))
    data = bytearray((tmp_path / "good.npz").read_bytes())
    data[len(data) // 2] ^= 4
    (tmp_path / "bit.npz").write_bytes(data)
    (tmp_path / "cut.npz").write_bytes(data[:-30])
    for name in ("bit.npz", "cut.npz"):
        with pytest.raises(ValueError, match=f"{name} cannot be read"):
            read_arrays(tmp_path / name)

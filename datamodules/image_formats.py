"""Which kinds of image files can be read here, and opening one of them: no more than its size allows is allocated."""

import warnings
from functools import lru_cache
from importlib import import_module
from pathlib import Path

from PIL import Image, UnidentifiedImageError
from PIL.ImageFile import ImageFile

_JPEG = {".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".mpo"}
_OTHERS = {".png", ".apng", ".webp", ".bmp", ".dib", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".pfm"}
_RARE = {".jp2", ".j2k", ".jpx", ".tga", ".pcx", ".sgi", ".qoi"}
_ALWAYS = _JPEG | _OTHERS | _RARE

_RAW = (".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf")
_CONVERT = (".dcm", ".dicom", ".nii", ".exr", ".hdr", ".svg", ".psd", ".eps", ".ico")
NEEDS = {  # images for which Pillow needs something, and what that is
    **dict.fromkeys((".heic", ".heics", ".heif", ".heifs", ".hif"), "to read them: pip install pillow-heif"),
    **dict.fromkeys((".avif", ".avifs"), "to read them: pip install -U pillow"),
    ".jxl": "to read them: pip install pillow-jxl-plugin",
    **dict.fromkeys(_RAW, "a camera's raw files: convert them to TIFF"),
    **dict.fromkeys(_CONVERT, "convert them to PNG or TIFF"),
}
_PLUGINS = {"pillow_heif": "register_heif_opener", "pillow_avif": "", "pillow_jxl": ""}

# Those whose readers are written for untrusted files: EPS, for one, would start an interpreter.
_FORMATS = (
    *("JPEG", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "PPM", "PFM", "MPO", "JPEG2000", "AVIF", "HEIF", "JXL"),
    *("PCX", "SGI", "QOI", "TGA"),
)
# Bytes that one byte of a file stands for at most, by Pillow's name of the decoder or of a TIFF's compression, where
# there is such a bound.
_EXPANSION = {
    **{"raw": 1, "zip": 1032, "gif": 4096},
    **{"tiff_deflate": 1032, "tiff_adobe_deflate": 1032, "tiff_lzw": 4096, "packbits": 128},
}


@lru_cache
def formats() -> tuple[str, ...]:
    """Names of the formats that this Pillow reads, with the plugins that are installed."""
    for name, register in _PLUGINS.items():
        try:
            plugin = import_module(name)
        except ImportError:
            continue
        if register:
            getattr(plugin, register)()
    Image.init()
    # Odd metadata, without the file's name and once a process: the image is read without them.
    for message in (
        "Corrupt EXIF data",
        "Tag data larger",
        "Metadata Warning",
        "Truncated File Read",
        "Possibly corrupt",
    ):
        warnings.filterwarnings("ignore", message, module="PIL")
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def is_readable(ending: str) -> bool:
    """Whether files with this ending (".heic") are images that can be read here; upper case or lower."""
    formats()
    return ending.lower() in _ALWAYS or (ending.lower() in NEEDS and ending.lower() in _of_plugins())


def _of_plugins() -> set[str]:
    known = Image.registered_extensions()
    return {ending for ending, name in known.items() if name in formats()}


def open_image(path: Path) -> ImageFile:
    """An image whose pixels are not read yet.

    Raises:
        ValueError: what the header promises cannot be in a file of this size, or Pillow does not read its kind.
        OSError: it cannot be opened.
    """
    try:
        image = Image.open(path, formats=formats())
    except UnidentifiedImageError as error:
        raise ValueError(_unidentified(path)) from error
    try:
        _refuse_impossible(image, path.stat().st_size)
        _refuse_misread(image)
    except BaseException:
        image.close()
        raise
    return image


def _refuse_impossible(image: ImageFile, held: int) -> None:
    """What is larger than so many bytes can be, by its header, which is asked before any memory is."""
    names = {*(tile[0] for tile in image.tile), str(image.info.get("compression"))}
    most = min((_EXPANSION[name] for name in names & _EXPANSION.keys()), default=float("inf"))
    width, height = image.size
    if width * height / 8 > held * most:  # at a bit a pixel, the least there is
        raise ValueError(f"its header promises {width} x {height} pixels, which {held:,} bytes cannot hold")


def _refuse_misread(image: ImageFile) -> None:
    """TIFFs that Pillow opens and gets wrong."""
    tags = getattr(image, "tag_v2", {})
    bits, sign = ((tags.get(tag) or (1,))[0] for tag in (258, 339))
    if tags.get(284) == 2 and bits > 8:
        raise ValueError(f"a TIFF with its colours in separate planes of {bits} bits: save them together")
    if sign == 2 and bits <= 8:
        raise ValueError(f"a TIFF of signed numbers of {bits} bits: save it unsigned, or with 16 bits")


def _unidentified(path: Path) -> str:
    with path.open("rb") as file:
        head = file.read(4)
    if not head:
        return "the file is empty"
    if head in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "a TIFF of a kind that Pillow does not read, or a damaged one: save it with 8 or 16 bits, or float32"
    return "not an image, or of a kind that Pillow does not read"

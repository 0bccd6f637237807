"""Self-supervised pretraining: this project beside its peers, candidates taking turns.

    pip install lightly kornia
    python benchmarks/self_supervised.py views --root data [--threads 1]

``views``: microseconds a view of 32 x 32 x 3, with SimCLR's recipe, with its blur and without. lightly's
``SimCLRTransform`` gets one PIL image after the other, as it expects, and makes two views of each (its normalisation is
left out); kornia's container and ours get whole batches of tensors. Images are those of CIFAR-10 where ``--root`` has
them, and noise elsewhere.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from timing import header, interleaved
from torch import Tensor

SIDE = 32


def images(root: str, count: int) -> Tensor:
    """Images (count, 3, 32, 32), uint8: CIFAR-10's, in its binary version."""
    path = next(Path(root).rglob("data_batch_1.bin"), None)
    if path is None:
        return torch.randint(0, 256, (count, 3, SIDE, SIDE), dtype=torch.uint8)
    records = torch.frombuffer(bytearray(path.read_bytes()), dtype=torch.uint8).view(-1, 1 + 3 * SIDE**2)
    return records[:count, 1:].reshape(-1, 3, SIDE, SIDE)


def ours(x: Tensor, blur: float) -> Callable[[], object]:
    """A view of each image, by this project; the next epoch's at each call."""
    from zoo.functional.views import make_views, parse_recipe, view_numbers

    recipe = parse_recipe({"name": "photo", "blur": blur})
    index, x, epoch = torch.arange(len(x)), x.float() / 255, iter(range(10**9))
    return lambda: make_views(x, recipe, view_numbers(0, next(epoch), index, 0))


def lightly(x: Tensor, blur: float) -> Callable[[], object]:
    """The same by lightly: half as many images, two views of each."""
    from lightly.transforms import SimCLRTransform
    from torchvision.transforms.functional import to_pil_image

    transform = SimCLRTransform(input_size=SIDE, gaussian_blur=blur, normalize=None)
    pictures = [to_pil_image(image) for image in x[: len(x) // 2]]
    return lambda: [transform(picture) for picture in pictures]


def kornia(x: Tensor, blur: float) -> Callable[[], object]:
    """The same by kornia, on the whole batch."""
    from kornia import augmentation as K

    parts: list[Any] = [
        K.RandomResizedCrop((SIDE, SIDE), scale=(0.08, 1.0)),
        K.RandomHorizontalFlip(),
        K.ColorJitter(0.8, 0.8, 0.8, 0.2, p=0.8),
        K.RandomGrayscale(p=0.2),
    ]
    parts += [K.RandomGaussianBlur((3, 3), (0.1, 2.0), p=blur)] if blur else []
    container, x = K.AugmentationSequential(*parts, data_keys=["input"]), x.float() / 255
    return lambda: container(x)


def views(options: argparse.Namespace) -> None:
    """Time all in turns and print microseconds a view, and by how much ours are faster."""
    x = images(options.root, options.batch)
    print(header(), " ".join(sys.argv[1:]))
    for blur in (0.0, 0.5):
        candidates: dict[str, Callable[[], object]] = {}
        for make in (ours, lightly, kornia):
            try:
                candidates[make.__name__] = make(x, blur)
            except ImportError as error:
                print(f"{make.__name__} is left out: {error}")
        seconds = interleaved(candidates, options.rounds)
        print(f"blur {blur:g}")
        for name, value in seconds.items():
            print(f"  {name:8s} {value / len(x) * 1e6:8.1f} us/view {value / seconds['ours']:6.1f} times ours")


def main() -> None:
    """Run the part that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["views"])
    parser.add_argument("--root", default="data")
    parser.add_argument("--batch", type=int, default=256, help="images in a batch")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    torch.empty(2**22).zero_()  # freed: the allocator keeps such sizes from now on, as it does in any training
    {"views": views}[options.part](options)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    main()

"""Self-supervised pretraining: this project beside its peers, candidates taking turns.

    pip install lightly kornia
    python benchmarks/self_supervised.py views --root data [--threads 1]
    python benchmarks/self_supervised.py mae [--batch 128] [--dtype bfloat16]

``views``: microseconds a view of 32 x 32 x 3, with SimCLR's recipe, with its blur and without. lightly's
``SimCLRTransform`` gets one PIL image after the other, as it expects, and makes two views of each (its normalisation is
left out); kornia's container and ours get whole batches of tensors. Images are those of CIFAR-10 where ``--root`` has
them, and noise elsewhere.

``mae``: training steps a second of a masked autoencoder whose encoder sees visible patches only, and of the same
network with mask tokens in the encoder, as BERT has them: 28 x 28 pixels in patches of 4, three quarters hidden, width
192.
"""

import argparse
import sys
from collections.abc import Callable
from functools import partial
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


def training_step(module: Any, loss: Callable[[Tensor], Tensor], x: Tensor, dtype: torch.dtype) -> Callable[[], object]:
    """A step of AdamW on a batch."""
    optimizer = torch.optim.AdamW(module.parameters(), fused=True)

    def step() -> None:
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            value = loss(x)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()

    return step


def bert_loss(module: Any, mask_token: Tensor) -> Callable[[Tensor], Tensor]:
    """The loss of a masked autoencoder's network whose encoder gets ``mask_token`` (D,) for each hidden patch."""
    from zoo.functional.masked_autoencoder import patch_error, patch_targets, put, split_patches, take
    from zoo.functional.patches import patchify

    trunk, decoder = module.trunk, module.decoder

    def loss(x: Tensor) -> Tensor:
        index = torch.arange(len(x))
        _, hidden = split_patches(index, trunk.grid, module.hparams.mask_ratio, 0, 0)
        instead = (mask_token + trunk.embed.positions)[hidden]
        tokens = trunk.encode_tokens(put(trunk.embed(x), hidden, instead))
        k = trunk.num_class_tokens
        codes = decoder.embed(tokens)
        codes = torch.cat([codes[:, :k], codes[:, k:] + decoder.positions], 1)
        answers = take(decoder.head(decoder.norm(decoder.blocks(codes)))[:, k:], hidden)
        return patch_error(answers, patch_targets(take(patchify(x, trunk.patch), hidden)))

    return loss


def mae(options: argparse.Namespace) -> None:
    """Time both in turns at two depths and print steps a second, and by how much ours are faster."""
    from zoo import MaskedAutoencoderModule

    x, index = torch.rand(options.batch, 1, 28, 28), torch.arange(options.batch)
    dtype = getattr(torch, options.dtype)
    print(header(), " ".join(sys.argv[1:]))
    for depth in (6, 12):
        network = {"name": "vit", "patch": 4, "width": 192, "depth": depth}
        ours, bert = (MaskedAutoencoderModule((1, 28, 28), network=network) for _ in range(2))
        bert.register_parameter("instead", torch.nn.Parameter(0.02 * torch.randn(192)))
        own_loss = partial(lambda module, x: module.loss({"input": x, "index": index})[0], ours)
        candidates = {
            "visible patches only": training_step(ours, own_loss, x, dtype),
            "mask tokens": training_step(bert, bert_loss(bert, bert.instead), x, dtype),
        }
        seconds = interleaved(candidates, options.rounds)
        ratio = seconds["mask tokens"] / seconds["visible patches only"]
        print(
            f"depth {depth}: " + ", ".join(f"{name} {1 / s:.2f} steps/s" for name, s in seconds.items()),
            f"x {ratio:.2f}",
        )


def main() -> None:
    """Run the part that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["views", "mae"])
    parser.add_argument("--root", default="data")
    parser.add_argument("--batch", type=int, default=256, help="images in a batch")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32", help="of the part mae")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    torch.empty(2**22).zero_()  # freed: the allocator keeps such sizes from now on, as it does in any training
    {"views": views, "mae": mae}[options.part](options)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    main()

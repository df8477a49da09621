"""Networks trained in half a minute on the images of `dataset=planted`: real weights, and an exact ground truth."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from xaieval.classifier import Classifier
from xaieval.datasets.planted import PATTERNS, Planted, patch_cells
from xaieval.datasets.preprocess import Preprocess
from xaieval.models.loading import ModelError, restore, seeded, suggest, write_whole

MEAN, STD = 0.45, 0.2
BATCH, RATE = 32, 2e-3
SEED = 1
"""Of the images to learn from; those to explain have the seed of the run, 0 unless told."""


def _resnet18(side: int) -> nn.Module:
    from torchvision.models import resnet18

    module: nn.Module = resnet18(num_classes=len(PATTERNS))
    return module


def _vit(side: int) -> nn.Module:
    from torchvision.models import VisionTransformer

    widths = {"num_layers": 4, "num_heads": 4, "hidden_dim": 64, "mlp_dim": 256}
    module: nn.Module = VisionTransformer(side, patch_size=4, num_classes=len(PATTERNS), **widths)
    return module


NETWORKS: dict[str, Callable[[int], nn.Module]] = {"resnet18": _resnet18, "vit": _vit}


def load(
    network: str,
    *,
    path: str,
    steps: int = 100,
    size: int = 56,
    device: str | None = None,
    precision: str = "float32",
    batch_size: int | str = "auto",
    layers: Mapping[str, str] | None = None,
) -> Classifier:
    """A network that has learned to tell the planted patterns; it is trained if its weights are not there yet.

    On images of 56 pixels it is right on practically every one. What it looks at is not given, as in `model=planted`,
    but an image holds no evidence beside the patch.

    Args:
        network: `resnet18`, or `vit`, a vision transformer of torchvision with 4 layers of 4 heads, patches of 4 x 4
            pixels and 64 channels.
        path: File of the weights, written after training and read from then on.
        steps: Of training, 32 images each.
        size: Side of the images, in pixels.
        device: Where to train and compute.
        precision: See `Classifier`.
        batch_size: See `Classifier`.
        layers: Default layers of methods; None: found by shapes.

    Raises:
        ModelError: No such network, no step, images too small for a patch, or weights that do not fit.
    """
    if network not in NETWORKS:
        raise ModelError(f"network must be one of {', '.join(NETWORKS)}, got {network!r}{suggest(network, NETWORKS)}")
    if steps < 1 or not patch_cells(size):
        raise ModelError(f"expected at least 1 step and images of at least 14 pixels a side, got {steps} and {size}")
    file = Path(path).expanduser()
    if not file.is_file():
        write_whole(_trained(network, steps, size, torch.device(device or "cpu")).state_dict(), file)
    return Classifier(
        restore(lambda: NETWORKS[network](size), str(file)),
        mean=(MEAN,) * 3,
        std=(STD,) * 3,
        device=device,
        precision=precision,
        batch_size=batch_size,
        layers=layers,
        name=f"planted_{network}",
        preprocess=Preprocess(size, size),
        categories=PATTERNS,
    )


def _trained(network: str, steps: int, size: int, device: torch.device) -> nn.Module:
    """The network after steps of AdamW with one cycle of the learning rate."""
    samples = Planted(count=steps * BATCH, seed=SEED).load(Preprocess(size, size))
    with seeded(), torch.enable_grad():
        module = NETWORKS[network](size).to(device).train()
        optimizer = torch.optim.AdamW(module.parameters(), RATE, weight_decay=0.05)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, steps)
        for step in range(steps):
            batch = [samples[index] for index in range(step * BATCH, (step + 1) * BATCH)]
            images = torch.stack([sample.input for sample in batch]).to(device)
            target = torch.tensor([sample.target for sample in batch], device=device)
            _step(module, (images - MEAN) / STD, target, optimizer)
            schedule.step()
    return module


def _step(module: nn.Module, inputs: Tensor, target: Tensor, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    functional.cross_entropy(module(inputs), target).backward()
    optimizer.step()

"""A user's folder for whole runs: tiny pictures with labels and masks, and a module with a model and methods."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

MODULE = '''
"""A user's own module."""

import os
import time
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from xaieval.component import Method


class Net(nn.Module):
    """A small smooth network; FORWARD_LOG names a file that notes every call, FORWARD_SECONDS makes a call slow."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 6, 5, stride=2), nn.Softplus(), nn.Conv2d(6, 8, 3), nn.Softplus())
        self.head = nn.Linear(8, 5)

    def forward(self, inputs):
        if log := os.environ.get("FORWARD_LOG"):
            with open(log, "a") as file:
                file.write(f"{len(inputs)}\\n")
        time.sleep(float(os.environ.get("FORWARD_SECONDS", 0)))
        return 8 * self.head(self.body(inputs).mean((2, 3)))


class Pair(Net):
    """Returns a tuple."""

    def forward(self, inputs):
        return super().forward(inputs), None


@dataclass(frozen=True)
class Mine(Method):
    """A scaled gradient (arXiv:1312.6034)."""

    units: ClassVar[str] = "gradient"
    reference: ClassVar[str] = "arXiv:1312.6034"
    scale: float = 1.0

    def attribute(self, explicand):
        return self.scale * explicand.gradient


@dataclass(frozen=True)
class Failing(Mine):
    """Raises (arXiv:1312.6034)."""

    def attribute(self, explicand):
        raise ArithmeticError("no such map")


def saliency(model, inputs, target):
    """A plain function."""
    inputs.requires_grad_()
    return torch.autograd.grad(model(inputs).gather(1, target[:, None]).sum(), inputs)[0].abs()
'''

ARGUMENTS = (
    "model=callable",
    "model.callable.function=toy:Net",
    "model.callable.resize=16",
    "model.callable.crop=16",
    "batch_size=8",
    "dataset=folder",
    "dataset.folder.path=pictures",
)
"""The user's model on the user's pictures."""


def make_project(folder: Path, count: int = 8) -> Path:
    """The folder with `toy.py` and `pictures/`, of which every second has a mask."""
    (folder / "toy.py").write_text(MODULE)
    pictures = folder / "pictures"
    pictures.mkdir()
    lines = ["file,label,mask"]
    for number in range(count):
        values = np.random.default_rng(number).integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(values).save(pictures / f"p{number}.png")
        mask = ""
        if number % 2:
            mask = f"m{number}.png"
            drawn = Image.new("L", (16, 16))
            ImageDraw.Draw(drawn).rectangle((2, 2, 8, 9), fill=255)
            drawn.save(pictures / mask)
        lines.append(f"p{number}.png,{number % 5},{mask}")
    (pictures / "labels.csv").write_text("\n".join(lines) + "\n")
    return folder


def command(folder: Path, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    """Start the command in the folder."""
    script = Path(sys.executable).with_name("xaieval")
    return subprocess.Popen(
        [script, *arguments],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finished(process: subprocess.Popen[str], seconds: float = 300) -> str:
    """What the command printed, once it has ended well."""
    out, err = process.communicate(timeout=seconds)
    assert process.returncode == 0, f"{out}\n{err}"
    return out

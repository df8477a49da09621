"""What the catalogs of methods and metrics share: what is counted on, what docstrings say, and Markdown."""

from __future__ import annotations

import dataclasses
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from xaieval.classifier import Classifier
from xaieval.component import Method, Metric
from xaieval.cost import Cost
from xaieval.explicand import Explicand
from xaieval.laws.bottleneck_toys import bottleneck
from xaieval.laws.part_toys import told
from xaieval.laws.toys import SIDE as SMALL_SIDE
from xaieval.laws.toys import images, names, seeded
from xaieval.modalities.modality import Modality
from xaieval.parts import Parts

SIDE = 224
"""Of the input for which evaluations are counted."""

CONCEPTS = "concepts"
"""In place of a network's name: a concept bottleneck."""

# -- what evaluations are counted on -----------------------------------------------------------------------------------


def photo(values: bool, network: str = "resnet18", modality: Modality | None = None) -> Explicand:
    """One input of 224 x 224 pixels with a mask and parts: random on a tiny network, or none on one of torchvision's.

    Args:
        values: Whether there are values.
        network: Its name, or `CONCEPTS` for a concept bottleneck of ResNet-18.
        modality: What the input is said to be; None: an image.
    """
    if values:
        classifier, inputs = Classifier(seeded(Tiny), batch_size=64), images(1, SIDE)
    else:
        from torchvision.models import get_model

        with torch.device("meta"):
            module = get_model("resnet18" if network == CONCEPTS else network, weights=None)
            module = bottleneck(module, "layer4", 512) if network == CONCEPTS else module
            inputs = torch.empty(1, 3, SIDE, SIDE)
            classifier = Classifier(module, device="meta", batch_size=64, modality=modality)
    mask = torch.zeros(1, SIDE, SIDE, dtype=torch.bool, device=inputs.device)
    mask[:, : SIDE // 2, : SIDE // 2] = True
    return classifier.explicand(inputs, 0, names(1), mask=mask, parts=_parts())


def _parts() -> Parts:
    """The parts of the laws' images, as large as the input."""
    small: Parts = told(1)["parts"]
    times = SIDE // SMALL_SIDE
    masks = None if small.masks is None else small.masks.repeat_interleave(times, 2).repeat_interleave(times, 3)
    return Parts(small.scheme, times * small.centers, small.visible, small.concepts, masks)


class Tiny(nn.Sequential):
    """A network that costs next to nothing on a large image."""

    def __init__(self) -> None:
        pool, convolution = nn.AvgPool2d(8), nn.Conv2d(3, 4, 3, padding=1)
        super().__init__(pool, convolution, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 4))


def counted(cost: Cost) -> str:
    """Forwards and backwards in words."""
    parts = zip(cost[:2], ("forward", "backward"), strict=True)
    return " and ".join(f"{count:,.0f} {kind}{'' if count == 1 else 's'}" for count, kind in parts if count) or "none"


# -- what a docstring and a class say ----------------------------------------------------------------------------------


def line(text: str) -> str:
    """The first paragraph on one line."""
    return " ".join(text.split("\n\n")[0].split())


def meanings(attributes: str) -> dict[str, str]:
    """What the docstring says of each field."""
    pieces = re.split(r"^ {4}(\w+): ", attributes.split("\n\n")[0], flags=re.MULTILINE)[1:]
    return {name: " ".join(text.split()) for name, text in zip(pieces[::2], pieces[1::2], strict=True)}


def title(component: Method | Metric) -> str:
    """The first line of the component's file, and what is not as in the class where the YAML is a preset."""
    text = line(sys.modules[type(component).__module__].__doc__ or "")
    preset = ", ".join(f"`{option}`" for option in changed_options(component))
    return f"{text} With {preset}." if preset else text


def changed_options(component: Any) -> list[str]:
    """The options of a component that are not the defaults of its class, each as `name=value`."""
    return [
        f"{field.name}={getattr(component, field.name)!r}"
        for field in dataclasses.fields(component)
        if field.default is not dataclasses.MISSING and getattr(component, field.name) != field.default
    ]


def heading(component: Method | Metric) -> str:
    """What it is, its class as a link to the file, and its paper."""
    kind = type(component)
    _, group, stem = kind.__module__.split(".")
    return f"{title(component)} [`{kind.__module__}.{kind.__name__}`](../{group}/{stem}.py), {source(component)}"


def exceptions(component: Method | Metric) -> list[str]:
    """A line for each reason why laws do not hold."""
    laws: dict[str, list[str]] = {}
    for law, reason in component.exceptions.items():
        laws.setdefault(reason, []).append(f"`{law}`")
    return [
        f"- **Law{'s' * (len(found) > 1)} {', '.join(found)}** do{'es' * (len(found) == 1)} not hold: {reason}."
        for reason, found in laws.items()
    ]


def source(component: Method | Metric) -> str:
    """The paper as a link."""
    reference = component.reference
    if reference.startswith("arXiv:"):
        return f"[{reference}](https://arxiv.org/abs/{reference.removeprefix('arXiv:')})"
    return f"[{reference}](https://doi.org/{reference.removeprefix('doi:')})" if "10." in reference else reference


# -- Markdown ----------------------------------------------------------------------------------------------------------


def parameter_table(component: Any, meaning: Mapping[str, str]) -> list[str]:
    """One table, or none where there are no parameters."""
    rows = [
        [f"`{field.name}`", default_of(getattr(component, field.name)), meaning.get(field.name, "")]
        for field in dataclasses.fields(component)
    ]
    return [table(("parameter", "default", "meaning"), rows)] if rows else []


def default_of(value: Any) -> str:
    """A default as code."""
    if dataclasses.is_dataclass(value):
        return f"`{type(value).__name__}`"
    return f"`{list(value)}`" if isinstance(value, tuple) else f"`{value!r}`"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; a bar inside a cell would end it."""
    lines = [head, ["---"] * len(head), *([cell.replace("|", r"\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)

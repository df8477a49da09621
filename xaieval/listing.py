"""What a YAML of the configuration is, in a line."""

from __future__ import annotations

import re
from importlib.resources import files
from typing import Any

from omegaconf import OmegaConf

from xaieval.config import default, located


def about(group: str, name: str) -> str:
    """Units or direction, and the first sentence of what a YAML names."""
    text = (files("xaieval.conf") / group / f"{name}.yaml").read_text()
    if group in ("removal", "experiment"):
        comments = [line[1:].strip() for line in text.splitlines() if line.startswith("#") and "@package" not in line]
        return comments[0] if comments else ""
    node: Any = OmegaConf.to_container(OmegaConf.create(text))
    target = located(str(node[name]["_target_"]), name)
    return f"{_kind(group, name)}{_preset(group, name) or first_sentence(target.__doc__ or '')}"


def _preset(group: str, name: str) -> str:
    """What a preset changes: a YAML of another name than the file of its class; empty where it is none."""
    if group not in ("method", "metric"):
        return ""
    from xaieval.pages import changed_options

    component = default(group, name)
    stem = type(component).__module__.rpartition(".")[2]
    return "" if stem == name else f"{stem} with {', '.join(changed_options(component))}"


def _kind(group: str, name: str) -> str:
    if group == "method":
        method = default("method", name)
        kind = "sentinel" if method.sentinel else "oracle" if method.oracle else method.units
        return f"{kind:12}  "
    if group == "metric":
        metric = default("metric", name)
        return f"{'↑' if metric.higher_is_better else '↓'} {metric.category:13}  "
    return ""


def first_sentence(text: str) -> str:
    """The first sentence, on one line."""
    paragraph = " ".join(text.split("\n\n")[0].split())
    return re.split(r"(?<=\.)\s+(?=[A-Z`])", paragraph)[0]

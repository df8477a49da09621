"""Finding methods and metrics by their YAML files, composing them, and giving them a small budget."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Iterator, Mapping
from importlib.resources import files
from typing import Any, TypeVar

from omegaconf import OmegaConf

from xaieval.component import Method, Metric

Component = TypeVar("Component", bound=Method | Metric)

ROOT = {"seed": 0, "removal": "zero"}
"""The values of the root configuration that components refer to."""

SMALL = {"samples": 6, "steps": 4, "designs": 4, "copies": 3, "grid": 4, "window": 5, "stride": 3, "tolerance": 2}
"""Largest values of fields, by name, where a law holds for any budget."""

FAIR = SMALL | {"samples": 300, "steps": 32, "designs": 32, "copies": 8}
"""Largest values of fields where a law is about what the numbers mean."""


def composed(group: str) -> Iterator[tuple[str, Any]]:
    """Name and component of every file of a group, `method` or `metric`, as its YAML composes it."""
    folder = files("xaieval.conf") / group
    for file in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if file.name.endswith(".yaml"):
            yield file.name.removesuffix(".yaml"), compose(file.read_text(), file.name.removesuffix(".yaml"))


def compose(text: str, name: str) -> Any:
    """The component of a YAML text whose one key is its name.

    Raises:
        ValueError: The key is not the name.
    """
    tree = OmegaConf.to_container(OmegaConf.merge(ROOT, OmegaConf.create(text)), resolve=True)
    keys = sorted(set(tree) - set(ROOT)) if isinstance(tree, dict) else []
    if keys != [name] or not isinstance(tree, dict):
        raise ValueError(f"{name}.yaml must hold the one key {name!r}, got {', '.join(map(str, keys)) or 'none'}")
    return _made(tree[name])


def _made(node: Any) -> Any:
    if isinstance(node, list):
        return tuple(map(_made, node))
    if not isinstance(node, Mapping):
        return node
    module, _, kind = node["_target_"].rpartition(".")
    return getattr(importlib.import_module(module), kind)(
        **{key: _made(value) for key, value in node.items() if key != "_target_"}
    )


def has_field(component: Any, name: str) -> bool:
    """Whether a component has a field of this name."""
    return any(field == name for field, _ in _values(component))


def changed(component: Component, **values: Any) -> Component:
    """The component with other values of the fields that it has among these."""
    made: Any = component
    known = {name: value for name, value in values.items() if has_field(made, name)}
    return dataclasses.replace(made, **known) if known else component


def limited(component: Component, limits: Mapping[str, int]) -> Component:
    """The component with no field of these names above its limit, components inside it as well."""

    def limit(name: str, value: Any) -> Any:
        if isinstance(value, Method | Metric):
            return limited(value, limits)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return min(value, limits[name]) if number and name in limits else value

    return changed(component, **{name: limit(name, value) for name, value in _values(component)})


def reseeded(component: Component, seed: int) -> Component:
    """The component with another seed, components inside it as well."""
    inner = {name: reseeded(value, seed) for name, value in _values(component) if isinstance(value, Method | Metric)}
    return changed(component, seed=seed, **inner)


def depth(component: Method | Metric) -> int:
    """How many methods lie inside each other."""
    return 1 + max((depth(value) for _, value in _values(component) if isinstance(value, Method)), default=0)


def _values(component: Any) -> list[tuple[str, Any]]:
    if not dataclasses.is_dataclass(component):  # a law says so
        return []
    return [(field.name, getattr(component, field.name)) for field in dataclasses.fields(component)]

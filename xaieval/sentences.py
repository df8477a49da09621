"""What is wrong with a command line, in sentences: Hydra says it in terms of its own."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException, OverrideParseException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from xaieval.config import GROUPS, names, unknown_parameter
from xaieval.models.loading import suggest

EXTRAS = {"joblib": "joblib", "ray": "ray", "submitit_local": "slurm", "submitit_slurm": "slurm"}
"""Which extra of the package brings which launcher."""


def explain(error: HydraException | OmegaConfBaseException, arguments: Sequence[str]) -> str:
    """The sentence for an error of Hydra.

    Args:
        error: What Hydra raised while it composed a configuration.
        arguments: The command line.
    """
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        return _unknown_choice(error.missing_cfg_file, error.options or ())
    if isinstance(error, OverrideParseException):
        return (
            f"{error.override!r} cannot be read: {str(error).splitlines()[0]}. Quote lists: 'method=[gradient,sobol]'"
        )
    key = getattr(error.__cause__, "full_key", None)
    if isinstance(error, ConfigCompositionException) and key and "not in struct" in str(error.__cause__):
        return _unknown_key(str(key), arguments)
    if str(error).startswith("Ambiguous value"):
        argument = str(error).splitlines()[0].split("'")[1]
        key, _, value = argument.partition("=")
        return (
            f"{argument} names several values: '{key}=[{value}]' takes them in one run, `xaieval -m {argument}` in one "
            "run each"
        )
    details = [str(error), str(error.__cause__ or "")]
    return ": ".join(detail for detail in details if detail) or type(error).__name__


def _unknown_choice(path: str, options: Sequence[str]) -> str:
    """A file of a group that does not exist, such as `method/sobbol`."""
    group, _, name = path.rpartition("/")
    if group == "hydra/launcher" and name in EXTRAS:
        return f"the launcher {name} is not installed: pip install 'xaieval[{EXTRAS[name]}]'"
    known = options or (names(group) if group in GROUPS else [])
    there = f"{suggest(name, known)}; there are {', '.join(known)}" if known else ""
    return f"there is no {group or 'configuration'} {name!r}{there}"


def _unknown_key(key: str, arguments: Sequence[str]) -> str:
    """A key that the configuration does not have, such as `method.sobol` where another method was chosen."""
    group, *rest = key.split(".")
    override = next((argument for argument in arguments if argument.lstrip("+").startswith(key)), key)
    if not rest:
        keys = list(_root())
        return f"there is no key {group!r}{suggest(group, keys)}; there are {', '.join(keys)}"
    if group == "hydra":
        return f"{override}: Hydra has no key {key!r} here; `+{override.lstrip('+')}` adds it"
    if group in GROUPS and len(rest) == 1:
        return _not_chosen(group, rest[0], override, arguments)
    owner = ".".join((group, *rest[:-1]))
    known = _fields(group, rest[:-1])
    return f"{override}: {owner} has no {rest[-1]!r}" if known is None else unknown_parameter(key, known)


def _not_chosen(group: str, name: str, override: str, arguments: Sequence[str]) -> str:
    known = names(group)
    if name not in known:
        return f"{override}: there is no {group} {name!r}{suggest(name, known)}; there are {', '.join(known)}"
    chosen = [argument for argument in arguments if argument.startswith(f"{group}=")]
    if chosen and name in re.split(r"\W+", chosen[-1]):
        return (
            f"{override}: not every job of the sweep {chosen[-1]} has the {group} {name}: choose it in all of them, or "
            f"sweep over it apart, {group}={name} {override}"
        )
    also = f" (it has {chosen[-1]})" if chosen else ""
    return (
        f"{override}: the {group} {name} is not part of the run{also}, so there is nothing to change: choose it too, "
        f"as in '{group}=[...,{name}]', or leave this out"
    )


def _root() -> dict[str, Any]:
    root: Any = OmegaConf.to_container(OmegaConf.load(str(files("xaieval.conf") / "config.yaml")))
    groups = dict.fromkeys(GROUPS)
    return {**groups, **{key: value for key, value in root.items() if key not in ("defaults", "hydra")}}


def _fields(group: str, path: Sequence[str]) -> list[str] | None:
    """The parameters at a path of the package's own configuration, None where that has no such path."""
    if group in GROUPS and path and path[0] in names(group):
        node: Any = OmegaConf.to_container(OmegaConf.load(str(files("xaieval.conf") / group / f"{path[0]}.yaml")))
    else:
        node = _root().get(group)
        path = ("", *path) if isinstance(node, dict) else path
        node = {"": node}
    for name in path:
        node = node.get(name) if isinstance(node, dict) else None
    return [name for name in node if not name.startswith("_")] if isinstance(node, dict) else None

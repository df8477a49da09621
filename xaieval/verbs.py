"""The verbs of the command: everything that is not a run."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import pandas as pd
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

from xaieval import leaderboard as boards
from xaieval.config import GROUPS, ConfigError, default, located, names, plain
from xaieval.models.loading import suggest
from xaieval.results import ROWS, read_rows
from xaieval.store import Store


def run_verb(verb: str, arguments: Sequence[str]) -> None:
    """Run a verb with its arguments.

    Raises:
        ConfigError: There is no such verb, or it takes other arguments.
    """
    if verb not in VERBS:
        hint = suggest(verb, VERBS)
        raise ConfigError(
            f"there is no verb {verb!r}{hint}; there are {', '.join(VERBS)}, and KEY=VALUE composes a run, such as "
            "method=sobol"
        )
    VERBS[verb](arguments)


def list_parts(arguments: Sequence[str]) -> None:
    """`list [GROUP ...]`: what can be composed, a line each.

    Raises:
        ConfigError: There is no such group.
    """
    for group in arguments or GROUPS:
        if group not in GROUPS:
            raise ConfigError(f"there is no group {group!r}{suggest(group, GROUPS)}; there are {', '.join(GROUPS)}")
        _print(f"{group}:" if len(arguments) != 1 else "")
        width = max(map(len, names(group)))
        for name in names(group):
            _print(f"  {name:{width}}  {_about(group, name)}")


def _about(group: str, name: str) -> str:
    """Units or direction, and the first sentence of what a YAML names."""
    text = (files("xaieval.conf") / group / f"{name}.yaml").read_text()
    if group in ("removal", "experiment"):
        comments = [line[1:].strip() for line in text.splitlines() if line.startswith("#") and "@package" not in line]
        return comments[0] if comments else ""
    node: Any = OmegaConf.to_container(OmegaConf.create(text))
    target = located(str(node[name]["_target_"]), name)
    return f"{_kind(group, name)}{_sentence(target.__doc__ or '')}"


def _kind(group: str, name: str) -> str:
    if group == "method":
        method = default("method", name)
        return f"{'sentinel' if method.sentinel else method.units:12}  "
    if group == "metric":
        metric = default("metric", name)
        return f"{'↑' if metric.higher_is_better else '↓'} {metric.category:12}  "
    return ""


def _sentence(text: str) -> str:
    """The first sentence, on one line."""
    paragraph = " ".join(text.split("\n\n")[0].split())
    return re.split(r"(?<=\.)\s+(?=[A-Z`])", paragraph)[0]


def check(arguments: Sequence[str]) -> None:
    """`check MODULE:NAME ...`: the laws on methods or metrics.

    Raises:
        ConfigError: Nothing is named, or it cannot be found.
        CheckError: A law does not hold.
    """
    if not arguments:
        raise ConfigError("check what? Name a method or metric, as in `xaieval check my_module:MyMethod`")
    from xaieval import laws

    held = [laws.report(laws.check(_named(name))) for name in arguments]
    if not all(held):
        broken = [name for name, good in zip(arguments, held, strict=True) if not good]
        raise CheckError(f"{', '.join(broken)} breaks laws, see above")


class CheckError(ValueError):
    """A method or metric breaks a law."""


def _named(name: str) -> Any:
    """What `module:name` names, or a YAML of the package."""
    module, colon, attribute = name.partition(":")
    if not colon:
        for group in ("method", "metric"):
            if name in names(group):
                return default(group, name)
        raise ConfigError(f"check takes MODULE:NAME, such as my_module:MyMethod, or the name of a YAML, got {name!r}")
    return located(f"{module}.{attribute}", name)


def leaderboard(arguments: Sequence[str]) -> None:
    """`leaderboard [RUN | store.path=DIR] [--differences]`: the table of a run's folder, or of all that a store holds.

    Raises:
        ConfigError: An unknown flag, or nothing at this place.
    """
    flags = [argument for argument in arguments if argument.startswith("--")]
    if set(flags) - {"--differences"}:
        raise ConfigError(f"leaderboard knows the flag --differences, got {' '.join(flags)}")
    runs = [Path(argument) for argument in arguments if argument not in flags and "=" not in argument]
    rows = _rows_of_runs(runs) if runs else _rows_of_store([word for word in arguments if "=" in word])
    boards.show(boards.leaderboards(rows))
    if flags:
        boards.show(boards.differences(rows))


def _rows_of_runs(folders: Sequence[Path]) -> pd.DataFrame:
    files = [folder / ROWS if folder.is_dir() else folder for folder in folders]
    for file in files:
        if not file.is_file():
            raise ConfigError(
                f"there are no rows at {file}: name the folder of a run, such as runs/2026-01-31/12-00-00"
            )
    return read_rows(files)


def _rows_of_store(overrides: Sequence[str]) -> pd.DataFrame:
    path = Path(str(_composed(overrides)["store"]["path"]))
    if not (path / "parts").is_dir():
        raise ConfigError(f"there is no store at {path}: run something first, or name another with store.path=DIR")
    return Store(path).rows()


def _composed(overrides: Sequence[str]) -> dict[str, Any]:
    with initialize_config_module("xaieval.conf", version_base="1.3"):
        config = compose("config", overrides=list(overrides))
    return plain(config)


def _print(line: str) -> None:
    if line:
        sys.stdout.write(f"{line.rstrip()}\n")


VERBS: dict[str, Callable[[Sequence[str]], None]] = {"list": list_parts, "check": check, "leaderboard": leaderboard}

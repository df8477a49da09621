"""What a report is of: stores and folders of runs, each with its rows and the configurations behind them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from xaieval.config import ConfigError, choose_device, plain
from xaieval.kept_configs import KeptConfig, command_of, kept_configs
from xaieval.kept_verdicts import Column, kept_verdicts
from xaieval.results import ROWS, read_rows
from xaieval.rows import one_per_key
from xaieval.store import Store
from xaieval.verdicts import Verdict

HYDRA = ".hydra"
"""Where Hydra notes what a run was composed of, in the folder of the run or of each job of a sweep."""


@dataclass(frozen=True)
class Source:
    """A store, or the folder of a run or of a sweep.

    Attributes:
        name: As it was given.
        rows: The columns of `xaieval.rows.SCHEMA`, one for each cell.
        store: Where maps, curves and verdicts are kept; None: nowhere.
        configs: What was run.
    """

    name: str
    rows: pd.DataFrame
    store: Path | None
    configs: tuple[KeptConfig, ...]


def read_sources(paths: Sequence[Path]) -> list[Source]:
    """The sources at these places, with names of their own.

    Raises:
        ConfigError: At one of them there is neither a store nor a run, or nowhere is a single cell.
    """
    found = [_read(path) for path in dict.fromkeys(paths)]
    if all(source.rows.empty for source in found):
        raise ConfigError(f"there is nothing to report: no cells in {', '.join(source.name for source in found)}")
    return found


def all_rows(sources: Sequence[Source]) -> pd.DataFrame:
    """The rows of all sources together, one for each cell."""
    filled = [source.rows for source in sources if not source.rows.empty]
    return one_per_key(pd.concat(filled, ignore_index=True))


def all_verdicts(sources: Sequence[Source]) -> Mapping[Column, Verdict]:
    """What `xaieval reliability` left in any of the stores; a later one counts."""
    found: dict[Column, Verdict] = {}
    for source in sources:
        found |= kept_verdicts(source.store)
    return found


def _read(path: Path) -> Source:
    if (path / "parts").is_dir():
        rows, configs = Store(path).rows(), kept_configs(path)
        return Source(str(path), rows, path, tuple(configs[name] for name in _hashes(rows) if name in configs))
    if (path / ROWS).is_file():
        return _of_run(Source(str(path), read_rows([path / ROWS]), None, tuple(_composed(path))))
    raise ConfigError(
        f"there is neither a store nor a run at {path}: name the folder of a store, such as runs/store, or that of a "
        "run, such as runs/2026-01-31/12-00-00"
    )


def _of_run(source: Source) -> Source:
    """The folder of a run, with the store that the run wrote to where it still is."""
    named = [(config.values.get("store") or {}).get("path") for config in source.configs]
    stores = [Path(str(path)) for path in named if path is not None]
    return replace(source, store=next((path for path in stores if (path / "parts").is_dir()), None))


def _hashes(rows: pd.DataFrame) -> list[str]:
    """Of the configurations behind the rows, the latest first."""
    return [str(name) for name in rows["config_hash"].dropna()[::-1].unique()]


def _composed(folder: Path) -> Iterator[KeptConfig]:
    """What Hydra noted of a run, or of the jobs of a sweep; what cannot be read any more is left out."""
    for file in sorted(folder.rglob(f"{HYDRA}/config.yaml")):
        try:
            config = OmegaConf.load(file)
            words = OmegaConf.to_container(OmegaConf.load(file.with_name("overrides.yaml")))
            if isinstance(config, DictConfig) and isinstance(words, list):
                choose_device(config)
                yield KeptConfig(command_of([str(word) for word in words]), plain(config))
        except (OSError, ValueError, OmegaConfBaseException):
            continue

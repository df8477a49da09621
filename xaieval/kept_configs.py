"""Configurations of runs that a store keeps: from them a report finds the photos and maps behind its rows."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from xaieval.store import write_whole

FOLDER = "configs"


@dataclass(frozen=True)
class KeptConfig:
    """What was run.

    Attributes:
        command: As it was typed.
        values: What it was composed of, as plain values.
    """

    command: str
    values: dict[str, Any]


def command_of(overrides: Sequence[str]) -> str:
    """The command that composes a run of these words."""
    return shlex.join(["xaieval", *overrides])


def hash_of(values: Mapping[str, Any]) -> str:
    """What rows have in `config_hash`."""
    return hashlib.blake2b(json.dumps(values, sort_keys=True, default=str).encode(), digest_size=20).hexdigest()


def keep_config(store: Path, name: str, config: KeptConfig) -> None:
    """Write a configuration into the store, unless it is there.

    Args:
        store: Its folder.
        name: The hash that rows have in `config_hash`.
        config: What was run.
    """
    path = store / FOLDER / f"{name}.json"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps(asdict(config), indent=1, default=str).encode())


def kept_configs(store: Path) -> Mapping[str, KeptConfig]:
    """The configurations of a store by their hashes. A file that is damaged counts as missing."""
    found = {}
    for path in sorted((store / FOLDER).glob("*.json")):
        try:
            found[path.stem] = KeptConfig(**json.loads(path.read_text()))
        except (OSError, ValueError, TypeError):
            continue
    return found

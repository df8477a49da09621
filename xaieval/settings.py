"""The keys of a run beside its components, checked once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from xaieval.config import ConfigError


@dataclass(frozen=True)
class Settings:
    """What `conf/config.yaml` says beside the groups.

    Attributes:
        seed: Of every draw.
        target: The class explained, `predicted` or `label`.
        shard: `k/n`.
        limit: Samples taken of each dataset; None: all.
        store: Path of the store; None: none.
        gigabytes: Of attributions in the store.
    """

    seed: int
    target: str
    shard: str
    limit: int | None
    store: str | None
    gigabytes: float

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Settings:
        """The settings of a configuration of plain values.

        Raises:
            ConfigError: A key is missing or is not what it should be.
        """
        limit, store = _part(config, "dataset").get("limit"), _part(config, "store")
        if limit is not None and not (_is_number(limit, int) and limit >= 1):
            raise ConfigError(f"dataset.limit must be a number of samples, at least 1, or null for all, got {limit!r}")
        return cls(
            seed=_number(config.get("seed"), "seed", int),
            target=str(config.get("target")),
            shard=str(config.get("shard")),
            limit=limit,
            store=None if store.get("path") is None else str(store["path"]),
            gigabytes=_number(store.get("gigabytes"), "store.gigabytes", int | float),
        )


def _part(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = config.get(name)
    if not isinstance(part, Mapping):
        raise ConfigError(f"{name} holds several keys, got {name}={part!r}: write {name}.KEY=VALUE")
    return part


def _number(value: Any, name: str, kind: Any) -> Any:
    if not _is_number(value, kind):
        raise ConfigError(f"{name} must be {'an integer' if kind is int else 'a number'}, got {value!r}")
    return value


def _is_number(value: Any, kind: Any) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)

"""The keys of a run beside its components, checked once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from xaieval.config import ConfigError
from xaieval.models.loading import suggest
from xaieval.plan import shard_of
from xaieval.removal import NAMED


@dataclass(frozen=True)
class Reliability:
    """What is computed to judge the metrics of a run.

    Attributes:
        samples: The first so many are explained and scored under other conditions.
        methods: So many methods on perturbed models and inputs.
        evaluations: Most that one of these may cost for a sample.
        perturbations: Of each kind, of the model and of the inputs.
        iterations: Times all of these.
        seeds: Further seeds of methods and of metrics.
        removals: Names of those that take the place of a metric's own.
    """

    samples: int
    methods: int
    evaluations: int
    perturbations: int
    iterations: int
    seeds: int
    removals: tuple[str, ...]

    @classmethod
    def of(cls, part: Mapping[str, Any]) -> Reliability:
        """These settings as `conf/config.yaml` has them.

        Raises:
            ConfigError: A key is missing or is not what it should be.
        """
        least = {"samples": 1, "methods": 1, "evaluations": 0, "perturbations": 0, "iterations": 1, "seeds": 0}
        counts = {name: _count(part.get(name), f"reliability.{name}", lowest) for name, lowest in least.items()}
        removals = part.get("removals")
        if not isinstance(removals, list | tuple):
            raise ConfigError(
                f"reliability.removals must be a list such as [mean, blur], [] for none, got {removals!r}"
            )
        for name in removals:
            if name not in NAMED:
                raise ConfigError(
                    f"reliability.removals: there is no removal {name!r}{suggest(str(name), NAMED)}; there are "
                    f"{', '.join(NAMED)}"
                )
        return cls(**counts, removals=tuple(removals))


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
        reliability: What is computed to judge metrics.
    """

    seed: int
    target: str
    shard: str
    limit: int | None
    store: str | None
    gigabytes: float
    reliability: Reliability

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
            reliability=Reliability.of(_part(config, "reliability")),
        )

    def indices(self, count: int) -> range:
        """The places that are taken of a dataset of so many samples.

        Raises:
            ValueError: The shard is not `k/n` with 1 <= k <= n.
        """
        return shard_of(min(count, self.limit or count), self.shard)


def _part(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = config.get(name)
    if not isinstance(part, Mapping):
        raise ConfigError(f"{name} holds several keys, got {name}={part!r}: write {name}.KEY=VALUE")
    return part


def _count(value: Any, name: str, least: int) -> int:
    if not (_is_number(value, int) and value >= least):
        raise ConfigError(f"{name} must be an integer of at least {least}, got {value!r}")
    return int(value)


def _number(value: Any, name: str, kind: Any) -> Any:
    if not _is_number(value, kind):
        raise ConfigError(f"{name} must be {'an integer' if kind is int else 'a number'}, got {value!r}")
    return value


def _is_number(value: Any, kind: Any) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)

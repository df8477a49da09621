"""Verdicts of `xaieval reliability` that a store keeps, so that later leaderboards of the model carry its marks."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from xaieval.keys import key_of
from xaieval.store import write_whole
from xaieval.verdicts import Findings, Verdict

FOLDER = "verdicts"


class Column(NamedTuple):
    """What a verdict is about: a metric, by its canonical JSON, on a dataset with a model."""

    dataset: str
    model: str
    parameters: str


def by_column(found: Iterable[tuple[Findings, Verdict]]) -> dict[Column, Verdict]:
    """What each verdict is about, and the verdict."""
    evidences = ((findings.evidence, verdict) for findings, verdict in found)
    return {Column(about.dataset, about.model, about.parameters): verdict for about, verdict in evidences}


def keep_verdicts(store: Path, verdicts: Mapping[Column, Verdict]) -> None:
    """Write each verdict to a file of its own in the store; a later one takes the place of an earlier."""
    folder = store / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for column, verdict in verdicts.items():
        path = folder / f"{key_of(**column._asdict())}.json"
        write_whole(path, json.dumps({**column._asdict(), **asdict(verdict)}, indent=1).encode())


def kept_verdicts(store: Path | None) -> Mapping[Column, Verdict]:
    """The verdicts that a store keeps; none without a store. A file that is damaged counts as missing."""
    found = {}
    for path in sorted((store / FOLDER).glob("*.json")) if store is not None else ():
        try:
            fields = json.loads(path.read_text())
            column = Column(*(str(fields.pop(name)) for name in Column._fields))
            found[column] = Verdict(**fields)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
    return found

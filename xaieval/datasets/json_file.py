"""A JSON file, read or refused in a sentence."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from xaieval.datasets.preprocess import DatasetError


def read_json(path: Path, expected: str) -> Any:
    """The content of a file.

    Args:
        path: The file, in UTF-8.
        expected: What should be in it, for errors.

    Raises:
        DatasetError: No such file, no JSON, or an object with one key twice, of which JSON itself keeps the last.
    """
    if not path.is_file():
        raise DatasetError(f"there is no file {path}; expected JSON with {expected}")
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:  # a wrong encoding is a ValueError too
        raise DatasetError(f"{path} cannot be read ({error}); expected JSON in UTF-8 with {expected}") from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        repeated = [key for key, times in Counter(key for key, _ in pairs).items() if times > 1]
        raise ValueError(f"the key {repeated[0]!r} occurs twice in one object")
    return content

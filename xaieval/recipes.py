"""What all verbs `train` share: the words of a recipe, and the folder of what it trains."""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from hydra import compose
from omegaconf import OmegaConf

from xaieval.config import ConfigError, choose_device, composing, plain
from xaieval.epochs import TrainingError
from xaieval.models.loading import suggest

RECIPE = "recipe.json"
"""What a finished folder holds beside the model: how it was trained, and how well."""


def recipe_values(verb: str, config: str, words: Sequence[str], example: str) -> dict[str, Any]:
    """What `KEY=VALUE` words compose with a YAML of the package, as plain values.

    Args:
        verb: What is typed before the words, such as `train text`.
        config: Stem of the YAML.
        words: What the user typed.
        example: A word as it should be.

    Raises:
        ConfigError: A word without a value, or a key that does not exist.
    """
    known = _keys(config)
    for word in words:
        key = word.lstrip("+~").partition("=")[0]
        if "=" not in word:
            raise ConfigError(f"{verb} takes KEY=VALUE, such as {example}, got {word!r}")
        if key.split(".")[0] not in known:
            raise ConfigError(f"{verb} has no key {key!r}{suggest(key, known)}; it has {', '.join(known)}")
    with composing():
        composed = compose(config, overrides=list(words))
    choose_device(composed)
    return plain(composed)


def _keys(config: str) -> list[str]:
    """The groups that a YAML chooses from, and its own keys."""
    content: Any = OmegaConf.load(str(files("xaieval.conf") / f"{config}.yaml"))
    groups = [str(key) for entry in content.get("defaults", ()) if entry != "_self_" for key in entry]
    return groups + [str(key) for key in content if key != "defaults"]


def cache(kind: str) -> Path:
    """Where models are kept that nobody gave a folder: `~/.cache/xaieval/KIND`, or under `XDG_CACHE_HOME`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "xaieval" / kind


def is_there(folder: Path, key: str) -> bool:
    """Whether the model of a recipe's key is finished.

    Raises:
        TrainingError: The folder holds something else.
    """
    if not folder.exists():
        return False
    try:
        found = json.loads((folder / RECIPE).read_text(encoding="utf-8"))["key"]
    except (OSError, ValueError, KeyError, TypeError):
        found = None
    if found != key:
        what = "something else" if found is None else "a classifier of another recipe"
        raise TrainingError(f"{folder} holds {what}: give another folder=, or remove it")
    return True


def make(folder: Path, key: str, train: Callable[[Path], None], write: Callable[[Path], None]) -> None:
    """Train, going on where it was cut off, and write the folder whole or not at all.

    Args:
        folder: Where to.
        key: Of the recipe.
        train: Trains with its state in this file.
        write: Makes this folder.
    """
    checkpoint = folder.with_name(f".{folder.name}-{key[:12]}.checkpoint")
    train(checkpoint)
    part = folder.with_name(f".{folder.name}-{uuid.uuid4().hex}")
    try:
        write(part)
        if not is_there(folder, key):  # else another process was as quick
            part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    checkpoint.unlink(missing_ok=True)

"""Networks that tell the creatures of drawn scenes, trained at first use: nothing is downloaded."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from xaieval.classifier import Classifier
from xaieval.datasets.preprocess import Preprocess
from xaieval.epochs import TrainingError
from xaieval.models.loading import ModelError, restore
from xaieval.recipes import RECIPE
from xaieval.scene_networks import MEAN, NETWORKS, STD
from xaieval.train_scenes import WEIGHTS, Recipe

GIVEN = ("network", "size", "correlated", "spurious")
"""What of a recipe is told again where a network is loaded."""


def load(
    network: str = "cnn",
    *,
    size: int = 64,
    correlated: float = 0.0,
    spurious: float = 0.0,
    path: str | None = None,
    device: str | None = None,
    precision: str = "float32",
    batch_size: int | str = "auto",
    layers: Mapping[str, str] | None = None,
) -> Classifier:
    """A network by the recipe of `xaieval train scenes`, trained if it is not in the cache.

    That takes minutes on two cores, which are told; the cache is `~/.cache/xaieval/scenes`, or under `XDG_CACHE_HOME`.
    Parts were left out at random in training, so that a scene without one is nothing unusual.

    Args:
        network: `cnn`, whose logits are means over the places of its last layer; or `vit`, a vision transformer.
        size: Side of the images in pixels.
        correlated: How often nuisance parts follow class parts in the scenes that it learns from, see `Scenes`.
        spurious: How often the cue in the background is that of the class there.
        path: A folder that `xaieval train scenes folder=...` wrote, for recipes that differ in anything else.
        device: Where to train and compute.
        precision: See `Classifier`.
        batch_size: See `Classifier`.
        layers: Default layers of methods; None: found by shapes.

    Raises:
        ModelError: A value that is none, or a folder that holds something else.
    """
    try:
        recipe = Recipe(network, size, correlated=correlated, spurious=spurious, device=device)
        folder = recipe.trained() if path is None else Path(path).expanduser()
    except TrainingError as error:
        raise ModelError(str(error)) from error
    categories = _categories(folder, recipe)
    build = partial(NETWORKS[network].build, size, len(categories))
    return Classifier(
        restore(build, str(folder / WEIGHTS)),
        mean=(MEAN,) * 3,
        std=(STD,) * 3,
        device=device,
        precision=precision,
        batch_size=batch_size,
        layers=layers,
        name=_label(recipe, path),
        preprocess=Preprocess(size, size),
        categories=categories,
    )


def _categories(folder: Path, recipe: Recipe) -> list[str]:
    """The classes of the network in a folder.

    Raises:
        ModelError: It holds no network, or one of another recipe.
    """
    try:
        found = json.loads((folder / RECIPE).read_text(encoding="utf-8"))
        differing = [f"{name}={found[name]}" for name in GIVEN if found[name] != getattr(recipe, name)]
        categories: list[str] = found["categories"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"{folder} holds no network that was trained on scenes; give path= a folder that `xaieval train scenes "
            "folder=...` wrote"
        ) from error
    if differing:
        raise ModelError(f"the network in {folder} was trained with {', '.join(differing)}: say so here too")
    return categories


def _label(recipe: Recipe, path: str | None) -> str:
    """The name in tables, so that networks that learned from other scenes are told apart."""
    usual = Recipe(recipe.network)
    others = [f"{name}={getattr(recipe, name)}" for name in GIVEN if getattr(recipe, name) != getattr(usual, name)]
    if path is not None:
        others.append(Path(path).name)
    return ":".join((f"scenes_{recipe.network}", *([",".join(others)] if others else [])))

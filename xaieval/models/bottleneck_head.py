"""The head of a concept bottleneck as a model of its own, whose features are concepts."""

from __future__ import annotations

import copy

from torch import nn

from xaieval.classifier import Classifier
from xaieval.concept_model import bottleneck_of
from xaieval.concept_samples import ConceptEncoder
from xaieval.config import default
from xaieval.modalities.vectors import Vectors
from xaieval.models.loading import ModelError
from xaieval.unsupported import UnsupportedError


class ConceptHead(nn.Sequential):
    """Logits `(n, K)` of concept scores `(n, 1, L)`, linear in them.

    Args:
        head: L to K.
    """

    def __init__(self, head: nn.Linear) -> None:
        super().__init__(nn.Flatten(), head)


def load(
    bottleneck: Classifier | str,
    *,
    device: str | None = None,
    precision: str = "float32",
    batch_size: int | str = "auto",
) -> Classifier:
    """The head of a concept bottleneck: it takes the L concept scores of a picture in place of its pixels.

    A dataset of pictures is read through the bottleneck, picture by picture, and a sample's mask says which concepts
    hold in it, where the dataset tells. So every method explains by concepts: `input_x_gradient` gives `theta_jk u_ij`,
    the local importance of concept j for class k of Aysel 2025 (arXiv:2501.19271). Costs are those of the head: the one
    forward in which a picture is scored is no part of them.

    Where the bottleneck has a residual head as well, that part of the model is left out: the class predicted and all
    scores are those of the concepts alone, which may differ from the model's.

    Args:
        bottleneck: A model with concepts, such as `xaieval.models.bottleneck.load` gives, or the name of one.
        device: Where to compute, also for a bottleneck that is named; another has its own, as the two after this.
        precision: See `Classifier`.
        batch_size: See `Classifier`.

    Raises:
        ModelError: The model has no concepts.
    """
    if isinstance(bottleneck, str):
        bottleneck = default("model", bottleneck, device=device, precision=precision, batch_size=batch_size)
    assert isinstance(bottleneck, Classifier)
    try:
        found = bottleneck_of(bottleneck).bottleneck
    except UnsupportedError as error:
        raise ModelError(
            f"{bottleneck.name} has no concepts, so there is no head to take: give a concept bottleneck, such as that "
            "of model=scenes_bottleneck"
        ) from error
    return Classifier(
        ConceptHead(copy.deepcopy(found.head)),
        device=device,
        precision=precision,
        batch_size=batch_size,
        modality=Vectors(names=found.scheme.concepts),
        name=f"{bottleneck.name}_head",
        preprocess=ConceptEncoder(bottleneck),
        categories=bottleneck.categories,
    )

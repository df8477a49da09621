"""From a picture to the scores of the concepts in it, which are the input of a bottleneck's head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from xaieval.classifier import Classifier
from xaieval.collate import collate
from xaieval.concept_model import bottleneck_of, scorer
from xaieval.datasets.base import Sample, Samples
from xaieval.datasets.preprocess import DatasetError
from xaieval.parts import Parts


@dataclass(frozen=True)
class Scored:
    """What is known of a sample before its picture is read.

    Attributes:
        id: Its name.
        target: Index of its class, if known.
        place: Its number among the pictures.
    """

    id: str
    target: int | None
    place: int


@dataclass(frozen=True, eq=False)
class ConceptEncoder:
    """How a sample of a bottleneck becomes one of its head.

    Args:
        bottleneck: The model with concepts, which takes the pictures.
    """

    bottleneck: Classifier

    @cached_property
    def concepts(self) -> tuple[str, ...]:
        """Names of the L concepts."""
        return bottleneck_of(self.bottleneck).bottleneck.scheme.concepts

    def samples(self, pictures: Sequence[Sample]) -> Samples[Scored]:
        """The pictures' concept scores.

        A picture is read and scored when its sample is indexed, each in a call of its own: so its scores, by whose
        content results are kept, depend on no other picture. Scores are kept, pictures are not.
        """
        entries = pictures.entries if isinstance(pictures, Samples) else pictures
        known: dict[int, Sample] = {}

        def read(entry: Scored) -> Sample:
            if entry.place not in known:
                known[entry.place] = self.sample(pictures[entry.place])
            return known[entry.place]

        return Samples([Scored(entry.id, entry.target, place) for place, entry in enumerate(entries)], read)

    def sample(self, picture: Sample) -> Sample:
        """A picture's concept scores `(1, L)`, with the concepts that hold as mask, on the CPU; these if it is them.

        What is told of its parts is left out: where they lie says nothing of a vector.

        Raises:
            DatasetError: The dataset tells its concepts, and one of the model's is not among them.
        """
        if picture.reading is None and picture.input.ndim == 2:
            return picture
        model, given = scorer(self.bottleneck), collate([picture])
        attended = given.get("attended")
        scores = model.logits(
            given["inputs"].to(model.device), attended if attended is None else attended.to(model.device)
        )
        mask = None if picture.parts is None else self._holds(picture.id, picture.parts)
        return Sample(picture.id, scores.float().cpu(), picture.target, mask, picture.sources)

    def _holds(self, name: str, parts: Parts) -> Tensor:
        """Which of the model's concepts hold, `(L,)`, whatever the order in which the dataset tells them."""
        places = {concept: place for place, concept in enumerate(parts.scheme.concepts)}
        missing = [concept for concept in self.concepts if concept not in places]
        if missing:
            raise DatasetError(
                f"sample {name!r}: {len(missing)} of the {len(self.concepts)} concepts of {self.bottleneck.name} are "
                f"not told, the first is {missing[0]!r}: choose the dataset whose concepts the model was made of"
            )
        return parts.concepts[torch.tensor([places[concept] for concept in self.concepts])].cpu()

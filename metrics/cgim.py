"""CGIM: how well explanations, class by class, agree with the concepts that the classes have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xaieval.component import Method, Metric
from xaieval.explicand import Explicand
from xaieval.unsupported import UnsupportedError

SOURCES = ("attribution", "scores")


@dataclass(frozen=True)
class CGIM(Metric):
    """Concept global importance metric: cosine of importance and truth over classes (Aysel 2025, arXiv:2501.19271).

    On the head of a concept bottleneck (`model=scenes_bottleneck_head`) features are the L concepts. With M_jk the mean
    of concept j's score over the correctly predicted samples of class k, and V_jk the share of all samples of class k
    in which the concept holds,

        CGIM = mean_j cos(M_j:, V_j:)

    over the classes with a correct prediction, and over the concepts with a score and a sample where they hold: a
    cosine with a row of zeros is undefined, so such concepts are left out, see `by_concept`. The paper's three types
    are those of different scores: 1, the weights theta themselves, is that of the method `gradient`; 3, theta times the
    mean concept scores, that of `input_x_gradient`; 2, the concept scores alone, which no method changes, is the preset
    `cgim_scores`. Where theta = V type 1 is 1. The class of a sample is the one explained: with `target=label` the
    dataset's, as in the paper; with `target=predicted` every prediction counts as correct. A sample's values are its
    scores, which concepts hold, its class, and whether it is predicted, `(N, 2 L + 2)`; `aggregate` makes one number of
    many.

    Higher is better. Bounds: -1 to 1. Chance: 0 for random scores around 0. Scores without a sign are far above it,
    since shares have none either: the rows of `random` and `constant` show by how much. Undefined where fewer than two
    classes are predicted correctly, as of one class any two positive numbers agree. Cost: a forward, shared. Needs:
    mask.

    Differs from the paper: any method can be asked.

    Attributes:
        of: `attribution`: the scores are the method's; `scores`: they are the inputs, a concept's own score.

    Raises:
        ValueError: Other scores.
    """

    pooled: ClassVar[bool] = True
    higher_is_better: ClassVar[bool] = True
    bounds: ClassVar[tuple[float, float]] = (-1.0, 1.0)
    category: ClassVar[str] = "concepts"
    needs: ClassVar[tuple[str, ...]] = ("mask",)
    reference: ClassVar[str] = "arXiv:2501.19271"
    without_value: ClassVar[str] = "fewer than two classes are predicted, or no concept can be compared"
    exceptions: ClassVar[dict[str, str]] = {
        **dict.fromkeys(("values", "aggregate", "mask_beats_permuted"), "of the laws' three images one is predicted"),
        "undefined_masks": "that no concept holds in a sample says something of its class",
    }
    of: str = "attribution"

    def __post_init__(self) -> None:
        """Check the options."""
        if self.of not in SOURCES:
            raise ValueError(f"CGIM: of must be one of {', '.join(SOURCES)}, got {self.of!r}")

    def score(self, explicand: Explicand, attribution: Tensor, units: str, method: Method | None) -> Tensor:
        """Each sample's scores, which concepts hold, its class, and whether it is predicted, `(N, 2 L + 2)`."""
        if explicand.modality.ragged:
            raise UnsupportedError(
                "CGIM compares features between samples, and a text has tokens of its own",
                "choose the head of a concept bottleneck, such as model=scenes_bottleneck_head",
            )
        assert explicand.mask is not None  # it is among what the metric needs
        scores = explicand.features(attribution if self.of == "attribution" else explicand.inputs, units).flatten(1)
        holds = explicand.mask if explicand.present is None else explicand.mask & explicand.present
        facts = torch.stack((explicand.target, explicand.clean.margin >= 0), 1)
        return torch.cat((scores, holds.flatten(1).to(scores), facts.to(scores)), 1)

    def aggregate(self, values: Tensor) -> float:
        """The mean of the concepts' cosines; NaN where there is none."""
        return float(self.by_concept(values).nanmean())

    def by_concept(self, values: Tensor) -> Tensor:
        """The cosine of each concept's scores and truth over classes, `(L,)`.

        NaN where a row is zero: the concept holds in no sample, or has no score in any class. All are NaN where fewer
        than two classes are predicted correctly.

        Args:
            values: Of M samples, `(M, 2 L + 2)`; rows that are NaN are left out.
        """
        rows = values[~values.isnan().any(1)].double()
        scores, holds = rows[:, :-2].chunk(2, 1)
        classes, place = rows[:, -2].unique(return_inverse=True)
        right = rows[:, -1:]
        number = _sums(right, place, len(classes))
        means = _sums(scores * right, place, len(classes)) / number
        truth = _sums(holds, place, len(classes)) / _sums(torch.ones_like(right), place, len(classes))
        means, truth = (table[number[:, 0] > 0] for table in (means, truth))
        cosine = (means * truth).sum(0) / (means.norm(dim=0) * truth.norm(dim=0))
        return cosine if len(means) > 1 else torch.full_like(cosine, torch.nan)


def _sums(values: Tensor, place: Tensor, count: int) -> Tensor:
    """Sums `(count, K)` of the rows of values `(M, K)` by their place `(M,)`."""
    return values.new_zeros(count, values.shape[1]).index_add_(0, place, values)

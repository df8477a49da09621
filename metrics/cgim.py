"""CGIM: how well explanations, class by class, agree with the concepts that the classes have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xaieval.component import Method, Metric
from xaieval.explicand import Explicand

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
        UnsupportedError: The features are no concepts.
    """

    pooled: ClassVar[bool] = True
    higher_is_better: ClassVar[bool] = True
    bounds: ClassVar[tuple[float, float]] = (-1.0, 1.0)
    category: ClassVar[str] = "concepts"
    needs: ClassVar[tuple[str, ...]] = ("mask",)
    reference: ClassVar[str] = "arXiv:2501.19271"
    without_value: ClassVar[str] = "nothing to compare"
    exceptions: ClassVar[dict[str, str]] = {
        **dict.fromkeys(("values", "aggregate", "mask_beats_permuted"), "of the laws' three images one is predicted"),
        "memory": "the features of the law's images are no concepts",
        "undefined_masks": "that no concept holds in a sample says something of its class",
    }
    of: str = "attribution"

    def __post_init__(self) -> None:
        """Check the options."""
        if self.of not in SOURCES:
            raise ValueError(f"CGIM: of must be one of {', '.join(SOURCES)}, got {self.of!r}")

    def score(self, explicand: Explicand, attribution: Tensor, units: str, method: Method | None) -> Tensor:
        """Each sample's scores, which concepts hold, its class, and whether it is predicted, `(N, 2 L + 2)`."""
        explicand.modality.concepts()  # refuses other features, which differ from sample to sample
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
        return _cosine(_products(*_sums(values[~values.isnan().any(1)].double())[1:]).sum(1))

    def leave_one_out(self, values: Tensor) -> Tensor:
        """See the base class: a sample changes the products of its own class alone."""
        place, scores, right, holds, number = _sums(values.double())
        own, of_class = _of_each(values.double()), [sums[place] for sums in (scores, right, holds, number)]
        products = _products(scores, right, holds, number)
        rest = _products(*(sums - one for sums, one in zip(of_class, own, strict=True)))
        return _cosine(products.sum(1, keepdim=True) - products[:, place] + rest).nanmean(1)


def _of_each(rows: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What each of M samples adds to the four sums of its class.

    Its scores `(M, L)` and 1 `(M, 1)` if it is predicted, else 0; which concepts hold, `(M, L)`; and 1, `(M, 1)`.
    """
    scores, holds = rows[:, :-2].chunk(2, 1)
    right = rows[:, -1:]
    return scores * right, right, holds, torch.ones_like(right)


def _sums(rows: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The number of each sample's class `(M,)`, and the four sums over each of K classes."""
    classes, place = rows[:, -2].unique(return_inverse=True)
    scores, right, holds, number = (
        one.new_zeros(len(classes), one.shape[1]).index_add_(0, place, one) for one in _of_each(rows)
    )
    return place, scores, right, holds, number


def _products(scores: Tensor, right: Tensor, holds: Tensor, number: Tensor) -> Tensor:
    """What each class adds to a cosine, `(6, K, L)`, nothing where no prediction is right.

    The products of its mean score and truth with themselves and each other, whether each is not 0, and 1.
    """
    mean, truth = scores / right.clamp(min=1), holds / number.clamp(min=1)
    facts = (mean * mean, truth * truth, mean * truth, (mean != 0).double(), (truth != 0).double())
    return torch.stack((*facts, torch.ones_like(mean))) * (right > 0)


def _cosine(products: Tensor) -> Tensor:
    """The cosines `(*, L)` of sums over classes `(6, *, L)`, NaN where one is undefined."""
    first, second, both, *present, classes = products
    cosine: Tensor = both / (first * second).clamp(min=0).sqrt()
    return cosine.masked_fill((torch.stack(present) < 0.5).any(0) | (classes < 1.5), torch.nan)

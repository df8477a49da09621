"""How alike two explanations of the same features are: by their ranks, or by their structure."""

from __future__ import annotations

import torch
from torch import Tensor

from xaieval.correlation import constant, mean_ranks, pearson
from xaieval.explicand import Explicand

SIMILARITIES = ("spearman", "ssim")
WINDOW = 7

ONE_CONSTANT = "one of the two maps is constant"
"""Why there is no similarity."""


def check_similarity(owner: str, name: str) -> None:
    """Check the name of a similarity.

    Raises:
        ValueError: There is no such one.
    """
    if name not in SIMILARITIES:
        raise ValueError(f"{owner}: similarity must be one of {', '.join(SIMILARITIES)}, got {name!r}")


def similarity(explicand: Explicand, name: str, first: Tensor, second: Tensor, absolute: bool = False) -> Tensor:
    """The similarity `(N,)` in [-1, 1] of two explanations `(N, C, *F)`, summed over channels.

    1 where both are constant, as neither has changed; NaN where only one is.

    Args:
        explicand: What was explained.
        name: `spearman`: rank correlation over present features; `ssim`: structural similarity of maps divided by their
            largest absolute value, signed ones shifted from [-1, 1] to [0, 1].
        first: One explanation.
        second: The other.
        absolute: Compare absolute values of the features.
    """
    units = explicand.units_of(first)  # the second may be another model's, which is all that knows its units
    maps = (explicand.features(attribution, units).double() for attribution in (first, second))
    one, two = (_rounded(features.abs() if absolute else features) for features in maps)
    present = torch.ones_like(one, dtype=torch.bool) if explicand.present is None else explicand.present
    if name == "spearman":
        values = spearman(one, two, present)
    else:  # of negative means the product is positive, so signed maps are shifted
        explicand.places(0)  # refused where no feature lies beside another one, so that there are no windows
        pair = (one, two) if absolute else ((1 + one) / 2, (1 + two) / 2)
        values = _ragged(*pair, present) if explicand.modality.ragged else ssim(*pair, present)
    exactly = torch.zeros_like(values)
    flat, other = (constant(features.flatten(1), exactly, present.flatten(1)) for features in (one, two))
    return values.masked_fill(flat ^ other, torch.nan).masked_fill(flat & other, 1.0).float()


def spearman(first: Tensor, second: Tensor, present: Tensor) -> Tensor:
    """Rank correlation `(N,)` of features `(N, *F)` over those present; ties share their mean rank."""
    there = present.flatten(1)
    one, two = (mean_ranks(features.flatten(1).masked_fill(~there, torch.inf)) for features in (first, second))
    return pearson(one, two, there)


def ssim(first: Tensor, second: Tensor, present: Tensor, window: int = WINDOW) -> Tensor:
    """Mean structural similarity `(N,)` (Wang 2004, DOI 10.1109/TIP.2003.819861) of features `(N, *F)` in [0, 1].

    Over all square windows of 7 features (the side's largest odd number where that is less) without an absent one, or
    with the fewest, whose present features alone count; with sample variances and the constants .01 and .03.
    """
    side = min(first.shape[1:])
    size = min(window, side - 1 + side % 2)
    inside = present.double()
    count = _sums(inside, size).round()

    def mean(values: Tensor) -> Tensor:
        return _sums(values * inside, size) / count

    one, two = mean(first), mean(second)
    scale = count / (count - 1).clamp(min=1)
    square, other, both = ((mean(a * b) - mean(a) * mean(b)) * scale for a, b in _pairs(first, second))
    low, high = 0.01**2, 0.03**2
    quotient = (2 * one * two + low) * (2 * both + high) / ((one**2 + two**2 + low) * (square + other + high))
    fullest = count == count.flatten(1).amax(1).view(-1, *(1,) * (count.dim() - 1))
    return torch.where(fullest, quotient, 0).flatten(1).sum(1) / fullest.flatten(1).sum(1)


def _ragged(first: Tensor, second: Tensor, present: Tensor) -> Tensor:
    """The same for `(N, T)`, in windows as large as each sample's own present features allow."""
    count, values = present.sum(1), ssim(first, second, present)
    for window in range(WINDOW - 2, 0, -2):
        values = torch.where(count < window + 2, ssim(first, second, present, window), values)
    return values


def _pairs(first: Tensor, second: Tensor) -> tuple[tuple[Tensor, Tensor], ...]:
    return (first, first), (second, second), (first, second)


def _rounded(features: Tensor) -> Tensor:
    """Features as parts of the largest absolute value, to 1e-6 of it: what is less is rounding, and a tie."""
    largest = features.abs().flatten(1).amax(1).view(-1, *(1,) * (features.dim() - 1))
    return (features / largest.masked_fill(largest == 0, 1) * 1e6).round() / 1e6


def _sums(values: Tensor, size: int) -> Tensor:
    """Sums over all windows of this side, `(N, *G)`."""
    for axis in range(1, values.dim()):
        values = values.unfold(axis, size, 1).sum(-1)
    return values

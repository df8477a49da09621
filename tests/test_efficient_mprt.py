"""Efficient MPRT: exact entropies of maps of a few values, and NumPy's histograms."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import scipy.stats
import torch
from known_answers import Smooth, bind, constant, ids, normal, random
from metric_promises import PROMISES

from xaieval.attributions.edge_detector import EdgeDetector
from xaieval.attributions.gradient import Gradient
from xaieval.component import Method
from xaieval.laws.toys import General, seeded
from xaieval.metrics.efficient_mprt import EfficientMPRT
from xaieval.randomization import randomized

METRIC = EfficientMPRT()


@pytest.mark.parametrize("promise", PROMISES)
def test_promise(promise):
    promise(METRIC)


def levels(count, features=64):
    """A map of 8 x 8 with this many values, equally often."""
    return (torch.arange(features) % count).float().view(1, 1, 8, 8)


@dataclass(frozen=True)
class Levels(Method):
    """A map with this many values, equally often."""

    units: ClassVar[str] = "importance"
    count: int = 4

    def attribute(self, explicand):
        return levels(self.count).repeat(explicand.count, 1, 1, 1)


@pytest.mark.parametrize(("before", "after", "rise"), [(2, 4, 1), (4, 2, -0.5), (8, 64, 1), (4, 1, -1), (16, 16, 0)])
def test_maps_of_a_few_values(before, after, rise):
    """K values, equally often and each in a bin of its own, have entropy ln K."""
    where = bind(Smooth(), random(2, 3, 8, 8))
    found = METRIC(where, levels(before).repeat(2, 1, 1, 1), Levels(after))
    torch.testing.assert_close(found, torch.full((2,), float(rise)), rtol=0, atol=1e-6)


def test_agrees_with_numpy():
    where = bind(seeded(General), random(3, 3, 16, 16), [0, 1, 2])
    (model,) = randomized(where, "bottom_up", 1, 0)
    for bins in (10, 100):
        entropies = [
            [scipy.stats.entropy(np.histogram(row.sum(0), bins)[0]) for row in Gradient()(explicand).numpy()]
            for explicand in (where, model)
        ]
        expected = np.array(entropies[1]) / np.array(entropies[0]) - 1
        found = EfficientMPRT(bins=bins)(where, Gradient()(where), Gradient())
        # One of 256 scores that rounding puts into the next bin changes an entropy by up to ln(256) / 256.
        np.testing.assert_allclose(found, expected, atol=0.01)


def test_places_do_not_matter_but_signs_do():
    where, maps = bind(Smooth(), random(2, 3, 8, 8)), normal(2, 1, 8, 8)
    shuffled = maps.flatten(2).flip(2).view_as(maps)
    assert torch.equal(METRIC(where, maps, Levels()), METRIC(where, shuffled, Levels()))
    assert not torch.equal(METRIC(where, maps, Levels()), METRIC(where, maps.abs(), Levels()))


def test_what_ignores_the_model_does_not_rise():
    where = bind(Smooth(), random(3, 3, 8, 8))
    assert METRIC(where, EdgeDetector()(where), EdgeDetector()).tolist() == [0, 0, 0]


def test_absent_features_are_in_no_bin():
    present = torch.zeros(1, 8, 8, dtype=torch.bool)
    present[:, :4] = True
    where = bind(Smooth(), random(1, 3, 8, 8), present=present, ids=ids(1))
    maps = levels(2)
    maps[:, :, 4:] = 100
    torch.testing.assert_close(METRIC(where, maps, Levels(4)), torch.ones(1), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("model", "maps", "reason"),
    [(constant(), normal(1, 1, 8, 8), "no parameters"), (Smooth(), torch.ones(1, 1, 8, 8), "constant attribution")],
)
def test_undefined(model, maps, reason):
    values, reasons = METRIC.evaluate(bind(model, random(1, 3, 8, 8)), maps, Gradient())
    assert values.isnan().all()
    assert reasons[reason].all()


def test_costs_one_explanation():
    where = bind(Smooth(), random(2, 3, 8, 8))
    METRIC(where, Gradient()(where), Gradient())
    assert where.cost[:2] == (2, 2)


def test_a_single_bin_is_refused():
    with pytest.raises(ValueError, match="EfficientMPRT: bins must be at least 2, got 1"):
        EfficientMPRT(bins=1)

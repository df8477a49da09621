"""IROF: the area over the part of the probability that is left while segments are removed."""

import numpy as np
import pytest
import torch
from additive import maps, permuted
from known_answers import Model, Smooth, bind, constant, ids, linear, normal, random, spread
from metric_promises import PROMISES

from xaieval.metrics.irof import IROF
from xaieval.segments import segments_of

GRID = IROF(segments="grid", grid=4)
WAITS = ("runs_on_meta", "never_asks_the_host")  # SLIC is made on the host


@pytest.mark.parametrize("promise", PROMISES)
@pytest.mark.parametrize("segments", ["slic", "grid"])
def test_promise(promise, segments):
    if segments == "grid" or promise.__name__ not in WAITS:
        promise(IROF(segments=segments, grid=4))


def additive(count, contributions, floor=0.1):
    """A probability `floor + sum c` of the white patches of 4 x 4, as a model."""
    weights = spread(contributions.view(1, 4, 4), 8)[0] / 12
    model = Model(lambda x: ((x * weights).flatten(1).sum(1) + floor).logit())
    return bind(model, torch.ones(count, 3, 8, 8), ids=ids(count))


def test_closed_form_of_an_additive_probability():
    """1/L sum_r c_(r) (L - r + 1/2) / p(x)."""
    contributions = random(1, 16, seed=6) / 20
    where, patches = additive(5, contributions), normal(5, 16)
    order, place = patches.argsort(1, descending=True), torch.arange(1, 17)
    expected = (contributions.expand(5, 16).gather(1, order) * (16.5 - place)).sum(1) / 16 / where.clean.probability
    torch.testing.assert_close(GRID(where, maps(patches)), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("removal", ["zero", "mean"])
def test_agrees_with_a_loop_over_superpixels(removal):
    """Each image with its own number of them, fewer than asked for, by which its area is divided."""
    model, inputs, attribution = Smooth(), random(3, 3, 13, 10), normal(3, 3, 13, 10)
    present = torch.ones(3, 13, 10, dtype=torch.bool)
    present[2, :, 5:] = False
    where = bind(model, inputs, target=1, present=present)
    found = IROF(grid=4, removal=removal)(where, attribution)
    labels, expected, numbers = segments_of(where, "slic", 4).labels, [], []
    for x, a, cut, here in zip(inputs.double(), attribution.double().sum(1), labels, present, strict=True):
        names = cut[here].unique().tolist()
        order = sorted(names, key=lambda one: float(a[cut == one].mean()), reverse=True)
        color = x[:, here].mean(1)[:, None, None] if removal == "mean" else torch.zeros(())
        curve = [x]
        for one in order:
            curve.append(torch.where(cut == one, color, curve[-1]))
        with torch.no_grad():
            left = model.double()(torch.stack(curve)).softmax(1)[:, 1].numpy()
        expected.append(np.trapezoid(1 - left / left[0]) / len(names))
        numbers.append(len(names))
    assert numbers[0] > numbers[2]
    assert max(numbers) < 16
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_more_segments_score_no_higher():
    """Half of the probability, spread evenly over the image: the same value on every grid."""
    where = bind(Model(lambda x: (0.4 + 0.4 * x.mean((1, 2, 3))).logit()), torch.ones(1, 3, 16, 16))
    values = [IROF("grid", grid)(where, normal(1, 1, 16, 16)) for grid in (2, 4, 16)]
    for value in values:
        torch.testing.assert_close(value, torch.tensor([0.25]), rtol=0, atol=1e-5)


def test_segments_are_ordered_by_means_not_by_sums():
    """A column of 5 x 3 pixels with a higher sum goes after one of 5 x 2 with a higher mean."""
    attribution = torch.ones(1, 1, 5, 5)
    attribution[..., 3:] = 1.2
    weights = torch.zeros(3, 5, 5)
    weights[..., 3:] = 0.05
    where = bind(linear(weights), torch.ones(1, 3, 5, 5))
    segments = segments_of(where, "grid", 2)
    assert segments.area.tolist() == [[9, 6, 6, 4]]
    curve = where.curve(attribution, 2, 4, segments="grid")
    assert (curve.scores.logit[0, [0, 1, 2]] - curve.scores.logit[0, -1]).gt(1e-3).tolist() == [True, True, False]


def test_sentinels_stand_where_expected():
    contributions = random(1, 16, seed=6) / 20
    where = additive(100, contributions)
    exact, negated = (GRID(where, maps(sign * contributions.expand(100, 16))) for sign in (1, -1))
    others = GRID(where, maps(permuted(contributions[0])))
    assert exact[0] > others.max() > others.min() > negated[0]
    middle = contributions.sum() / 2 / where.clean.probability[0]
    for values in (others, GRID(where, torch.full((100, 1, 8, 8), 0.1))):
        assert abs(values.mean() - middle) < 4 * values.std() / 10


def test_constant_model_is_0_and_not_1():
    for segments in ("slic", "grid"):
        where = bind(constant(), random(2, 3, 8, 8))
        assert IROF(segments, 4)(where, normal(2, 1, 8, 8)).tolist() == [0, 0]


def test_low_clean_probability_is_undefined():
    where = bind(linear(torch.full((3, 8, 8), -3 / 192)), torch.tensor([1.0, 0.5]).view(2, 1, 1, 1).expand(2, 3, 8, 8))
    values, reasons = GRID.evaluate(where, normal(2, 1, 8, 8))
    assert reasons["low clean probability"].tolist() == [True, False]
    assert values.isnan().tolist() == [True, False]


def test_costs_a_forward_for_each_segment_and_the_input():
    where, attribution = bind(Smooth(), random(3, 3, 8, 8), target=1), normal(3, 1, 8, 8)
    for _ in range(2):
        IROF(grid=4)(where, attribution)
        assert where.cost[:2] == (17, 0)


def test_unknown_segments_are_refused():
    with pytest.raises(ValueError, match="IROF: segments must be one of slic, grid, got 'voronoi'"):
        IROF(segments="voronoi")

"""Faithfulness estimate: the correlation of scores and drops over single patches."""

import numpy as np
import pytest
import torch
from additive import additive, maps, permuted
from known_answers import Model, Smooth, bind, constant, linear, normal, random, spread
from metric_promises import PROMISES
from scipy.stats import pearsonr

from xaieval.attributions.feature_ablation import FeatureAblation
from xaieval.attributions.gradient import Gradient
from xaieval.each_patch import EachPatch
from xaieval.metrics.faithfulness_estimate import FaithfulnessEstimate

SMALL = FaithfulnessEstimate(grid=4)
ROUNDING = 1e-6  # as in faithfulness correlation


@pytest.mark.parametrize("promise", PROMISES)
def test_promise(promise):
    promise(SMALL)


def test_exact_contributions_are_one_and_negated_ones_minus_one():
    shape = normal(3, 8, 8)
    where = bind(Model(lambda x: (torch.sin(3 * x) * shape).flatten(1).sum(1)), random(3, 3, 8, 8, seed=1))
    contribution = torch.sin(3 * where.inputs) * shape
    for units in ("contribution", "importance"):
        torch.testing.assert_close(SMALL(where, contribution, units=units), torch.ones(3), rtol=0, atol=ROUNDING)
        torch.testing.assert_close(SMALL(where, -contribution, units=units), -torch.ones(3), rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("removal", ["zero", "mean", "blur", "noise"])
def test_gradient_of_a_linear_model_is_one(removal):
    where = bind(linear(normal(3, 8, 8)), random(3, 3, 8, 8, seed=1))
    metric = FaithfulnessEstimate(grid=4, removal=removal)
    torch.testing.assert_close(metric(where, Gradient()(where)), torch.ones(3), rtol=0, atol=ROUNDING)


def test_feature_ablation_is_one_on_any_model():
    where = bind(Smooth(), random(3, 3, 8, 8), target=1)
    ablation = FeatureAblation(segments="grid", grid=4, removal="mean")(where)
    metric = FaithfulnessEstimate(grid=4, removal="mean")
    # The drops are some 1e-2 of the scores, which are off by 1e-7 of theirs.
    torch.testing.assert_close(metric(where, ablation), torch.ones(3), rtol=0, atol=1e-5)
    assert (metric(where, -ablation) < -0.999).all()


@pytest.mark.parametrize("size", [(8, 8), (9, 5)])
def test_agrees_with_scipy_and_a_loop(size):
    """Of 9 x 5 pixels a grid of 6 cuts 6 x 5 patches of different areas."""
    model, inputs, attribution = Smooth(), random(3, 3, *size), normal(3, 3, *size)
    found = FaithfulnessEstimate(grid=6, removal="mean")(
        bind(model, inputs, target=1), attribution, units="contribution"
    )
    rows, columns = (torch.arange(side) * min(6, side) // side for side in size)
    labels, expected = rows[:, None] * 10 + columns, []
    for x, a in zip(inputs.double(), attribution.double(), strict=True):
        drops, sums = [], []
        for label in labels.unique():
            shown = torch.where(labels == label, x.mean((1, 2), keepdim=True), x)
            with torch.no_grad():
                scores = model.double()(torch.stack((x, shown)))[:, 1]
            drops.append(float(scores[0] - scores[1]))
            sums.append(float(a[:, labels == label].sum()))
        expected.append(pearsonr(drops, sums).statistic)
    # Single patches change the score by 1e-3 and less, of which rounding is 1e-4.
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_absent_patches_do_not_count():
    """They would be points at (0, 0), and correlate."""
    present = torch.ones(1, 8, 8, dtype=torch.bool)
    present[:, :, 4:] = False
    given = normal(1, 4, 4)
    where = bind(linear(spread(given, 8)[0] / 12), torch.ones(1, 3, 8, 8), present=present)
    other = normal(1, 4, 4, seed=1) + 2
    expected = pearsonr(given[0, :, :2].flatten(), other[0, :, :2].flatten()).statistic
    np.testing.assert_allclose(SMALL(where, spread(other, 8)), expected, atol=1e-5)


def test_constant_model_and_constant_map_are_undefined():
    values, reasons = SMALL.evaluate(bind(constant(), random(2, 3, 8, 8)), normal(2, 1, 8, 8))
    assert values.isnan().all()
    assert reasons["constant response"].all()
    values, reasons = SMALL.evaluate(bind(Smooth(), random(2, 3, 8, 8)), torch.full((2, 1, 8, 8), 0.1))
    assert values.isnan().all()
    assert reasons["constant prediction"].all()


def test_planted_patch_is_found_by_its_mask():
    patches = torch.zeros(1, 16)
    patches[:, 5] = 1
    where, _ = additive(1, contributions=patches)
    torch.testing.assert_close(SMALL(where, maps(patches)), torch.ones(1), rtol=0, atol=ROUNDING)
    other = torch.zeros(1, 16)
    other[:, 6] = 1  # two indicators that never meet: -1/15
    torch.testing.assert_close(SMALL(where, maps(other)), torch.tensor([-1 / 15]), rtol=0, atol=ROUNDING)


def test_sentinels_stand_where_expected():
    where, contributions = additive(100)
    others = SMALL(where, maps(permuted(contributions[0])))
    assert SMALL(where, maps(contributions))[0] > others.max() > others.min() > SMALL(where, maps(-contributions))[0]
    assert abs(others.mean()) < 4 * others.std() / 10


def test_ten_maps_cost_a_forward_for_each_patch():
    where = bind(Smooth(), random(3, 3, 9, 5))
    for seed in range(10):
        FaithfulnessEstimate(grid=6)(where, normal(3, 1, 9, 5, seed=seed))
    assert where.cost[:2] == (31, 0)


def test_a_perturbation_may_remove_each_patch_many_times():
    where = bind(Smooth(), random(2, 3, 8, 8))
    draws = EachPatch.of(where, 2, "zero", repeats=3)
    assert draws.samples == 12
    masks = torch.cat([draws.mask(where, batch) for batch in where.batches(12)]).view(2, 4, 3, 8, 8)
    expected = torch.stack([spread(torch.eye(4)[one].view(1, 2, 2), 8)[0, 0] for one in range(4)])
    assert torch.equal(masks, expected[None, :, None].expand_as(masks))
    for units, attribution in (("contribution", normal(2, 1, 8, 8)), ("gradient", normal(2, 3, 8, 8))):
        drawn = super(EachPatch, draws).predicted(where, attribution, units)
        torch.testing.assert_close(draws.predicted(where, attribution, units), drawn, rtol=1e-5, atol=1e-5)


def test_one_patch_is_refused():
    with pytest.raises(ValueError, match="FaithfulnessEstimate: a correlation needs a grid of at least 2, got 1"):
        FaithfulnessEstimate(grid=1)

"""Monotonicity: the share of steps at which the score does not fall while patches are put back."""

import numpy as np
import pytest
import torch
from additive import additive, maps
from known_answers import Model, Smooth, bind, constant, linear, normal, random, spread
from metric_promises import PROMISES

from xaieval.metrics.insertion import Insertion
from xaieval.metrics.monotonicity import Monotonicity

UNIT = Monotonicity(grid=4, steps=16, output="logit")


@pytest.mark.parametrize("promise", PROMISES)
@pytest.mark.parametrize("output", ["probability", "margin"])
def test_promise(promise, output):
    promise(Monotonicity(grid=8, steps=40, output=output))


def test_is_the_share_of_positive_contributions_for_every_map():
    """One where all are positive, less for every map where signs are mixed; a toolkit that gives 1 to both fails."""
    for given in (random(1, 16, seed=6), normal(1, 16, seed=6), -random(1, 16, seed=6)):
        where, contributions = additive(20, contributions=given)
        share = (given > 0).float().mean()
        for attribution in (maps(normal(20, 16)), maps(contributions), maps(-contributions)):
            torch.testing.assert_close(UNIT(where, attribution), share.expand(20))
            probability = Monotonicity(grid=4, steps=16)(where, attribution)
            torch.testing.assert_close(probability, share.expand(20))


def test_agrees_with_a_loop_that_puts_the_lowest_back_first():
    model, inputs, attribution = Smooth(), random(4, 3, 8, 8), normal(4, 3, 8, 8)
    found = Monotonicity(grid=4, steps=8, removal="mean")(bind(model, inputs, target=1), attribution)
    expected = []
    for x, a in zip(inputs.double().numpy(), attribution.double().numpy(), strict=True):
        sums = a.reshape(3, 4, 2, 4, 2).sum((0, 2, 4)).ravel()
        curve = []
        for k in range(9):
            y = np.broadcast_to(x.mean((1, 2), keepdims=True), x.shape).copy()
            for patch in np.argsort(sums)[: 2 * k]:
                place = np.s_[:, 2 * (patch // 4) : 2 * (patch // 4) + 2, 2 * (patch % 4) : 2 * (patch % 4) + 2]
                y[place] = x[place]
            with torch.no_grad():
                curve.append(model.double()(torch.tensor(y)[None]).softmax(1)[0, 1].item())
        expected.append(np.mean(np.diff(curve) >= 0))
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert len(set(expected)) > 1


def test_order_counts_where_features_work_together():
    """f = u - u v: putting back the second factor last costs the score, putting it back first does not."""
    where = bind(Model(lambda x: x[:, 0, 0, 0] - x[:, 0, 0, 0] * x[:, 0, 1, 1]), random(2, 3, 2, 2, seed=1) + 0.2)
    metric = Monotonicity(grid=2, steps=4, output="logit")
    last = torch.tensor([[1.0, -1.0], [-2.0, 2.0]]).expand(2, 1, 2, 2).contiguous()
    assert metric(where, last).tolist() == [0.75, 0.75]
    assert metric(where, -last).tolist() == [1, 1]


def test_steps_without_a_patch_and_rounding_do_not_count():
    """Of 16 patches 4 exist, so with 16 steps only four take one; the model ignores two of those."""
    present = torch.zeros(1, 8, 8, dtype=torch.bool)
    present[:, :, :2] = True
    weights = spread(torch.tensor([[[1.0], [-1.0], [1e-9], [-1e-9]]]).expand(1, 4, 4), 8)[0]
    where = bind(linear(weights), torch.ones(1, 3, 8, 8), present=present)
    assert UNIT(where, normal(1, 1, 8, 8)).tolist() == [0.75]


def test_constant_model_is_undefined():
    values, reasons = UNIT.evaluate(bind(constant(), random(2, 3, 8, 8)), normal(2, 1, 8, 8))
    assert values.isnan().all()
    assert reasons["constant curve"].all()


def test_is_not_read_from_an_insertion_of_the_top_patches():
    """Which has another order, and other points."""
    where, attribution = bind(Smooth(), random(2, 3, 8, 8), target=1), normal(2, 1, 8, 8)
    Insertion(4, 5)(where, attribution)
    spent = where.cost.forwards
    Monotonicity(4, 5)(where, attribution)
    assert where.cost.forwards == spent + 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"output": "loss"},
            "Monotonicity: output must be one of logit, log_probability, probability, margin, got 'loss'",
        ),
        ({"steps": 0}, "Monotonicity: steps must be at least 1, got 0"),
    ],
)
def test_unknown_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Monotonicity(**options)

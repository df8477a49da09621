"""Sufficiency: the drop of the score with nothing but the top patches, mean over fractions."""

import numpy as np
import pytest
import torch
from additive import additive, maps, permuted
from known_answers import Model, Smooth, bind, constant, normal, random
from metric_promises import PROMISES

from xaieval.metrics.sufficiency import Sufficiency

COUNTS = (1, 1, 2, 3, 8)  # of 16 patches, rounded, at least one
SMALL = Sufficiency(grid=4, output="logit")


@pytest.mark.parametrize("promise", PROMISES)
@pytest.mark.parametrize("output", ["probability", "margin"])
def test_promise(promise, output):
    promise(Sufficiency(grid=4, output=output))


def test_closed_form_of_an_additive_model():
    """The mean over five fractions of the sums of all contributions but the top ones."""
    where, contributions = additive(5)
    patches = normal(5, 16)
    kept = contributions.gather(1, patches.argsort(1, descending=True)).cumsum(1)
    expected = torch.stack([kept[:, -1] - kept[:, count - 1] for count in COUNTS]).mean(0)
    torch.testing.assert_close(SMALL(where, maps(patches)), expected, rtol=1e-5, atol=1e-5)


def test_agrees_with_a_loop():
    model, inputs, attribution = Smooth(), random(3, 3, 8, 8), normal(3, 3, 8, 8)
    found = Sufficiency(grid=4, removal="mean")(bind(model, inputs, target=1), attribution)
    expected = []
    for x, a in zip(inputs.double().numpy(), attribution.double().numpy(), strict=True):
        order = np.argsort(-a.reshape(3, 4, 2, 4, 2).sum((0, 2, 4)).ravel())
        shown = [x]
        for count in COUNTS:
            y = np.broadcast_to(x.mean((1, 2), keepdims=True), x.shape).copy()
            for patch in order[:count]:
                place = np.s_[:, 2 * (patch // 4) : 2 * (patch // 4) + 2, 2 * (patch % 4) : 2 * (patch % 4) + 2]
                y[place] = x[place]
            shown.append(y)
        with torch.no_grad():
            scores = model.double()(torch.tensor(np.stack(shown))).softmax(1)[:, 1]
        expected.append(float(scores[0] - scores[1:].mean()))
    # Drops are some 1e-2 of probabilities that are off by 1e-7.
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_sentinels_stand_where_expected():
    where, contributions = additive(300)
    best, worst = SMALL(where, maps(contributions)), SMALL(where, maps(-contributions))
    others = SMALL(additive(100)[0], maps(permuted(contributions[0])))
    assert best[0] < others.min()
    assert others.max() < worst[0]
    # A random order leaves out 13 of 16 contributions on average over the five fractions.
    expected = contributions[0].sum() * 13 / 16
    for values in (others, SMALL(where, torch.full((300, 1, 8, 8), 0.1))):
        assert abs(values.mean() - expected) < 4 * values.std() / len(values) ** 0.5


def test_product_needs_both_factors():
    """f = u v on two of 16 patches: one patch alone gives nothing, two and more give all, at 3 of 5 fractions."""
    where = bind(Model(lambda x: 8 * x[:, 0, 0, 0] * x[:, 0, 7, 7]), random(2, 3, 8, 8, seed=1) + 0.2)
    patches = torch.zeros(2, 16)
    patches[:, 0], patches[:, 15] = 2, 1
    torch.testing.assert_close(SMALL(where, maps(patches)), where.clean.logit * 2 / 5)
    torch.testing.assert_close(SMALL(where, maps(-patches)), where.clean.logit)


def test_is_negative_where_the_rest_speaks_against_the_class():
    contributions = -torch.ones(1, 16)
    contributions[:, 3] = 5
    where, _ = additive(1, contributions=contributions)
    assert SMALL(where, maps(contributions)) < 0


def test_constant_model_never_falls():
    assert Sufficiency(grid=4)(bind(constant(), random(2, 3, 8, 8)), normal(2, 1, 8, 8)).tolist() == [0, 0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"output": "loss"}, "Sufficiency: output must be one of logit, .*, margin, got 'loss'"),
        ({"fractions": (0.0, 0.1)}, r"Sufficiency: fractions must lie in \(0, 1\), got \(0.0, 0.1\)"),
    ],
)
def test_unknown_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Sufficiency(**options)

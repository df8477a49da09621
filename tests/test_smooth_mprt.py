"""Smooth MPRT: a loop over noisy inputs and edited copies, and the plain test where there is no noise."""

import copy

import numpy as np
import pytest
import scipy.stats
import torch
from known_answers import Smooth, bind, ids, normal, random
from metric_promises import PROMISES

from xaieval.attributions.constant import Constant
from xaieval.attributions.edge_detector import EdgeDetector
from xaieval.attributions.gradient import Gradient
from xaieval.attributions.random import Random
from xaieval.attributions.smoothgrad import SmoothGrad
from xaieval.laws.toys import General, seeded
from xaieval.metrics.mprt import MPRT
from xaieval.metrics.smooth_mprt import SmoothMPRT
from xaieval.randomization import drawn_weights


@pytest.mark.parametrize("promise", PROMISES)
def test_promise(promise):
    promise(SmoothMPRT(samples=3))


def test_without_noise_it_is_the_plain_test():
    where = bind(seeded(General), random(3, 3, 16, 16))
    found = SmoothMPRT(samples=1, noise=0)(where, Gradient()(where), Gradient())
    expected = MPRT(order="bottom_up")(where, Gradient()(where), Gradient())
    torch.testing.assert_close(found, expected)


def test_agrees_with_a_loop():
    module, inputs, target = seeded(General), random(3, 3, 16, 16), [0, 1, 2]
    inputs[1] *= 0.3  # another range
    where = bind(module, inputs, target)
    found = SmoothMPRT(samples=4, noise=0.2, steps=2)(where, Gradient()(where), Gradient())
    noise = torch.cat([batch.normal("smooth mprt", 0) for batch in where.batches(4)]).view(3, 4, 3, 16, 16)
    drawn = drawn_weights(where, 0)

    def explained(layers):
        twin = copy.deepcopy(module).eval()
        twin.load_state_dict({**module.state_dict(), **{k: v for layer in layers for k, v in drawn[layer].items()}})
        maps = []
        for x, draws, chosen in zip(inputs, noise, target, strict=True):
            leaf = (x + 0.2 * (x.max() - x.min()) * draws).requires_grad_()
            twin(leaf)[:, chosen].sum().backward()
            assert leaf.grad is not None
            maps.append(leaf.grad.mean(0).sum(0).abs().flatten().numpy())
        return maps

    clean = explained([])
    expected = [
        [scipy.stats.spearmanr(a, b).statistic for a, b in zip(clean, explained(layers), strict=True)]
        for layers in ([0, 1], [0, 1, 2, 3, 4])
    ]
    np.testing.assert_allclose(found, np.mean(expected, 0), atol=1e-3)  # scores within 1e-6 of the largest are tied


@pytest.mark.parametrize("method", [Constant(), EdgeDetector(), Random(), SmoothGrad(2, method=EdgeDetector())])
def test_what_ignores_the_model_has_the_worst_value(method):
    """Also what is drawn: noise and the method's own draws are the same for all models."""
    where = bind(Smooth(), random(3, 3, 8, 8), ids=ids(3))
    assert SmoothMPRT(samples=3)(where, method(where), method).tolist() == pytest.approx([1, 1, 1])


def test_cost():
    where = bind(seeded(General), random(3, 3, 16, 16))
    SmoothMPRT(samples=4)(where, normal(3, 3, 16, 16), Gradient())
    assert where.cost[:2] == (4 * (1 + 5), 4 * (1 + 5))  # five layers


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"samples": 0}, "SmoothMPRT: samples must be at least 1, got 0"),
        ({"noise": -0.1}, "SmoothMPRT: noise must be at least 0, got -0.1"),
        ({"order": "sideways"}, "SmoothMPRT: order must be one of top_down, bottom_up, independent, got 'sideways'"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        SmoothMPRT(**options)

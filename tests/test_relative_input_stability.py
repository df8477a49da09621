"""Relative input stability: exactly 1 for input x gradient of a linear model, and a slow loop."""

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import pytest
import torch
from known_answers import Model, bind, ids, linear, normal, random
from metric_promises import PROMISES

from xaieval.attributions.gradient import Gradient
from xaieval.attributions.input_x_gradient import InputXGradient
from xaieval.component import Method
from xaieval.explicand import Explicand
from xaieval.metrics.relative_input_stability import RelativeInputStability

SMALL = RelativeInputStability(copies=6)


@dataclass(frozen=True)
class Recorder(Method):
    """Input x gradient, and the inputs it was asked about."""

    units: ClassVar[str] = "contribution"
    seen: list[Explicand] = field(default_factory=list, compare=False, repr=False)

    def attribute(self, explicand):
        self.seen.append(explicand)
        return explicand.inputs * explicand.gradient


@pytest.mark.parametrize("promise", PROMISES)
def test_promise(promise):
    promise(RelativeInputStability(copies=3))


def test_linear_model():
    """`w y / (w x) = y / x`: input x gradient changes as much as the input; the gradient does not."""
    where = bind(linear(normal(3, 8, 8)), random(3, 3, 8, 8))
    # Pixels of some 1e-4 lose four of seven digits in y - x.
    torch.testing.assert_close(
        SMALL(where, InputXGradient()(where), InputXGradient()), torch.ones(3), rtol=1e-3, atol=0
    )
    assert SMALL(where, Gradient()(where), Gradient()).tolist() == [0, 0, 0]


def test_power_of_the_input():
    """On `f = sum x^3 / 3` the gradient `x^2` changes by `2 e / x` to first order: twice what the input does."""
    where = bind(Model(lambda x: x.pow(3).flatten(1).sum(1) / 3), 0.5 + random(3, 3, 8, 8) / 2)
    found = RelativeInputStability(copies=6, radius=1e-3)(where, Gradient()(where), Gradient())
    torch.testing.assert_close(found, torch.full((3,), 2.0), rtol=2e-3, atol=0)  # the second order is e / x


def test_black_pixels_and_zero_scores_are_left_out():
    inputs = random(2, 3, 8, 8)
    inputs[:, :, :3] = 0
    where = bind(linear(normal(3, 8, 8)), inputs, ids=ids(2))
    torch.testing.assert_close(
        SMALL(where, InputXGradient()(where), InputXGradient()), torch.ones(2), rtol=1e-3, atol=0
    )


def test_agrees_with_a_loop_over_neighbors_with_the_same_prediction():
    shape = normal(3, 8, 8)
    model = Model(lambda x: (torch.sin(3 * (x - 0.5)) * shape.to(x)).flatten(1).sum(1))
    inputs, recorder, target = random(6, 3, 8, 8), Recorder(), 0
    metric = RelativeInputStability(copies=8, radius=0.5)
    where = bind(model, inputs, target)
    found, reasons = metric.evaluate(where, recorder(where), recorder)
    copies = torch.cat([seen.inputs for seen in recorder.seen[1:]]).view(6, 8, 3, 8, 8)

    def explained(x):
        leaf = x[None].double().requires_grad_()
        logits = model(leaf)
        return (leaf * torch.autograd.grad(logits[0, target], leaf)[0])[0].detach().numpy(), int(logits.argmax())

    values, changes = [], 0
    for x, row in zip(inputs, copies, strict=True):
        a, predicted = explained(x)
        quotients = []
        for y in row:
            b, other = explained(y)
            step = ((y - x).double() / x.double()).numpy()
            if other == predicted:
                quotients.append(np.linalg.norm((b - a) / a) / np.linalg.norm(step))
        changes += 8 - len(quotients)
        values.append(max(quotients, default=np.nan))
    expected = np.array(values, dtype=float)
    assert 0 < changes < 48
    np.testing.assert_allclose(found, expected, rtol=1e-3)
    assert torch.equal(reasons["prediction changes"], torch.tensor(np.isnan(expected)))


def test_undefined_where_every_neighbor_is_predicted_otherwise():
    where = bind(Model(lambda x: 1e-3 - (x - 0.5).abs().amax((1, 2, 3))), torch.full((1, 3, 8, 8), 0.5), 0)
    values, reasons = SMALL.evaluate(where, normal(1, 3, 8, 8), Gradient())
    assert values.isnan().all()
    assert reasons["prediction changes"].all()


def test_a_black_image_has_no_relative_change():
    where = bind(linear(normal(3, 8, 8), 5.0), torch.zeros(1, 3, 8, 8))
    values, reasons = SMALL.evaluate(where, Gradient()(where), Gradient())
    assert values.isnan().all()
    assert reasons["zero input"].all()

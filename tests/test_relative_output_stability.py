"""Relative output stability: closed forms on linear models, and a slow loop."""

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import pytest
import torch
from known_answers import Smooth, bind, linear, normal, random
from metric_promises import PROMISES

from xaieval.attributions.gradient import Gradient
from xaieval.component import Method
from xaieval.explicand import Explicand
from xaieval.metrics.relative_output_stability import RelativeOutputStability

SMALL = RelativeOutputStability(copies=6)


@dataclass(frozen=True)
class Score(Method):
    """The logit itself at every pixel, and the inputs it was asked about."""

    units: ClassVar[str] = "importance"
    seen: list[Explicand] = field(default_factory=list, compare=False, repr=False)

    def attribute(self, explicand):
        self.seen.append(explicand)
        return torch.ones_like(explicand.inputs[:, :1]) * explicand.clean.logit.view(-1, 1, 1, 1)


@pytest.mark.parametrize("promise", PROMISES)
def test_promise(promise):
    promise(RelativeOutputStability(copies=3, radius=0.2))  # logits that hardly move lose their digits


def test_linear_model():
    """Each of 64 scores f changes by `df / f`, their norm is 8 |df / f|, and the logits (f, 0) move by |df|."""
    weights = normal(3, 8, 8)
    where = bind(linear(weights, 40.0), random(3, 3, 8, 8))
    expected = 8 / where.clean.logit.abs()
    found = SMALL(where, Score()(where), Score())
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=0)  # changes of .1 in scores of 40
    assert SMALL(where, Gradient()(where), Gradient()).tolist() == [0, 0, 0]


def test_agrees_with_a_loop():
    model, inputs, recorder = Smooth(), random(3, 3, 8, 8), Score()
    where = bind(model, inputs, 2)
    found = SMALL(where, recorder(where), recorder)
    copies = torch.cat([seen.inputs for seen in recorder.seen[1:]]).view(3, 6, 3, 8, 8)
    exact, expected = model.double(), []
    for x, row in zip(inputs, copies, strict=True):
        with torch.no_grad():
            clean, moved = exact(x[None].double()).numpy()[0], exact(row.double()).numpy()
        expected.append(
            max(
                8 * abs((y[2] - clean[2]) / clean[2]) / np.linalg.norm(y - clean)
                for y in moved
                if y.argmax() == clean.argmax()
            )
        )
    np.testing.assert_allclose(found, expected, rtol=1e-3)  # logits of some .1 that change by some 1e-3


def test_logits_of_the_neighbors_are_run_once_for_all_methods():
    where = bind(Smooth(), random(3, 3, 8, 8))
    for scale in (1, 2, 3):
        SMALL(where, scale * normal(3, 3, 8, 8), Gradient())
    assert where.cost[:2] == (1 + 6 + 3 * 6, 3 * 6)

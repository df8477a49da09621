"""Relative representation stability: exact where the layer is the input, and a slow loop over a real layer."""

import copy

import numpy as np
import pytest
import torch
from known_answers import bind, random
from metric_promises import yaml_holds_the_defaults
from torch import nn

from xaieval.attributions.gradient import Gradient
from xaieval.attributions.input_x_gradient import InputXGradient
from xaieval.laws.toys import General, seeded
from xaieval.metrics.relative_input_stability import RelativeInputStability
from xaieval.metrics.relative_representation_stability import RelativeRepresentationStability
from xaieval.robustness import Neighborhood

SMALL = RelativeRepresentationStability(copies=6)


class Scaled(nn.Module):
    """A layer that multiplies the input, then a sum."""

    def __init__(self, factor):
        super().__init__()
        self.layer = nn.Conv2d(3, 3, 1, groups=3, bias=False)
        nn.init.constant_(self.layer.weight, factor)

    def forward(self, x):
        score = self.layer(x).flatten(1).sum(1)
        return torch.stack((score, torch.zeros_like(score)), 1)


def test_a_layer_that_scales_the_input_gives_what_the_input_gives():
    where = bind(Scaled(-3.0), random(3, 3, 8, 8))
    found = SMALL(where, InputXGradient()(where), InputXGradient())
    torch.testing.assert_close(found, torch.ones(3), rtol=1e-3, atol=0)  # small pixels lose digits in y - x
    expected = RelativeInputStability(copies=6)(where, InputXGradient()(where), InputXGradient())
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=0)
    assert SMALL(where, Gradient()(where), Gradient()).tolist() == [0, 0, 0]


def test_agrees_with_a_loop_over_the_last_spatial_layer():
    module, inputs = seeded(General), random(3, 3, 16, 16)
    where = bind(module, inputs, [0, 1, 2])
    assert where.layer("grad_cam") == "6"
    found = SMALL(where, Gradient()(where), Gradient())
    draws = Neighborhood(6, 0.02, 0)
    copies = torch.cat([draws.inputs(batch) for batch in where.batches(6)]).view(3, 6, 3, 16, 16)
    exact = copy.deepcopy(module).double().eval()

    def run(x, target):
        leaf = x[None].double().requires_grad_()
        logits, hidden = exact(leaf)[0], nn.Sequential(*list(exact)[:7])(leaf)[0]
        gradient = torch.autograd.grad(logits[target], leaf)[0][0]
        return gradient.numpy(), hidden.detach().numpy(), int(logits.argmax())

    def relative(before, after):
        used = before != 0
        return np.linalg.norm((after - before)[used] / before[used])

    expected = []
    for target, (x, row) in enumerate(zip(inputs, copies, strict=True)):
        a, h, predicted = run(x, target)
        near = [run(y, target) for y in row]
        expected.append(max(relative(a, b) / relative(h, k) for b, k, other in near if other == predicted))
    np.testing.assert_allclose(found, expected, rtol=1e-2)  # the largest quotients are those of the smallest scores


def test_yaml_holds_the_defaults():
    yaml_holds_the_defaults(SMALL)


def test_another_layer_can_be_named():
    where = bind(seeded(General), random(3, 3, 16, 16))
    default = SMALL(where, Gradient()(where), Gradient())
    named = RelativeRepresentationStability(copies=6, layer="0")(where, Gradient()(where), Gradient())
    same = RelativeRepresentationStability(copies=6, layer="6")(where, Gradient()(where), Gradient())
    assert torch.equal(default, same)
    assert not torch.allclose(default, named)
    with pytest.raises(ValueError, match="no layer 'seventh'"):
        RelativeRepresentationStability(layer="seventh")(where, Gradient()(where), Gradient())

"""Meta-saliency: the method's map of a model that really took the step."""

import copy

import pytest
import torch
import torch.nn.functional as functional
from known_answers import random

from xaieval.attributions.gradient import Gradient
from xaieval.attributions.integrated_gradients import IntegratedGradients
from xaieval.attributions.meta_saliency import MetaSaliency
from xaieval.attributions.normgrad import NormGrad
from xaieval.attributions.smoothgrad import SmoothGrad
from xaieval.classifier import Classifier
from xaieval.laws.guards import untouched
from xaieval.laws.toys import General, Linear, Smooth, seeded

TARGET = [2, 0, 1]


def stepped(module, image, target, rate):
    """A copy of the module after one step of SGD on one image, in evaluation mode."""
    module = copy.deepcopy(module).eval()
    optimizer = torch.optim.SGD(module.parameters(), lr=rate)
    functional.cross_entropy(module(image), torch.tensor([target])).backward()
    optimizer.step()
    return module


@pytest.mark.parametrize("method", [NormGrad(), Gradient(), IntegratedGradients(steps=3), SmoothGrad(samples=3)])
def test_it_is_the_map_of_a_model_that_really_took_the_step(method):
    module, inputs = seeded(General), random(3, 3, 16, 16)
    found = MetaSaliency(0.05, method)(Classifier(module).explicand(inputs, TARGET, ["a", "b", "c"]))
    for row, target in enumerate(TARGET):
        one = inputs[row : row + 1]
        explicand = Classifier(stepped(module, one, target, 0.05)).explicand(one, target, ["abc"[row]])
        expected = method(explicand)
        torch.testing.assert_close(found[row : row + 1], expected, rtol=1e-3, atol=1e-5 * float(expected.abs().max()))


def test_closed_form_on_a_linear_model():
    """`W_c' = W_c + rate (1 - p_c) x`, and the gradient of logit c is row c of the weights."""
    module, inputs = seeded(lambda: Linear(48)), random(3, 3, 4, 4)
    found = MetaSaliency(0.5, Gradient())(Classifier(module).explicand(inputs, TARGET))
    probability = module(inputs).softmax(1).detach()[range(3), TARGET][:, None, None, None]
    expected = module.gradient(torch.tensor(TARGET), (3, 4, 4)) + 0.5 * (1 - probability) * inputs
    torch.testing.assert_close(found, expected)


def test_no_step_is_the_method_itself_and_a_negative_one_goes_the_other_way():
    module, inputs = seeded(Smooth), random(3, 3, 16, 16)
    maps = [MetaSaliency(rate, Gradient())(Classifier(module).explicand(inputs, TARGET)) for rate in (-1e-3, 0, 1e-3)]
    torch.testing.assert_close(maps[1], Gradient()(Classifier(module).explicand(inputs, TARGET)))
    up, down = maps[2] - maps[1], maps[0] - maps[1]
    assert float(up.abs().max()) > 0
    # Opposite to first order; the second order of so short a step is below a tenth.
    torch.testing.assert_close(up, -down, rtol=0, atol=0.1 * float(up.abs().max()))


def test_cost_and_what_stays_as_it_was():
    module = seeded(General)
    explicand = Classifier(module).explicand(random(3, 3, 16, 16), TARGET)
    with untouched(module):
        MetaSaliency(0.05, SmoothGrad(samples=5))(explicand)
    assert explicand.cost[:2] == (6, 6)


def test_weights_are_handed_to_the_call_and_folded_anew():
    module, inputs = seeded(General), random(3, 3, 16, 16)
    explicand = Classifier(module).explicand(inputs, TARGET)
    other = explicand.with_weights({"0.weight": 2 * module.get_parameter("0.weight")})
    edited = copy.deepcopy(module).eval()
    edited.load_state_dict({**module.state_dict(), "0.weight": 2 * module.get_parameter("0.weight")})
    logits = edited(inputs).detach()
    for _ in range(2):  # the second call has folded batch normalizations
        torch.testing.assert_close(other.classifier.logits(inputs), logits)
    assert not torch.allclose(explicand.classifier.logits(inputs), logits)
    with torch.no_grad():
        module.get_parameter("0.weight").mul_(3)
    explicand.classifier.explicand(inputs)  # looks at the weights anew
    with pytest.raises(ValueError, match="have changed since"):
        explicand.with_weights({})

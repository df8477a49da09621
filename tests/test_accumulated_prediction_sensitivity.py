"""Accumulated prediction sensitivity: closed forms on linear-softmax models, finite differences, and its limits."""

import numpy as np
import pytest
import torch
from known_answers import Smooth, bind, ids, normal, random
from metric_promises import PROMISES
from torch import nn

from xaieval.attributions.constant import Constant
from xaieval.attributions.gradient import Gradient
from xaieval.laws.toys import Counting, Linear, seeded
from xaieval.metrics.accumulated_prediction_sensitivity import AccumulatedPredictionSensitivity

METRIC = AccumulatedPredictionSensitivity()
COUNT, DEPTH, TOKENS, CLASSES = 3, 5, 7, 4


@pytest.mark.parametrize("promise", PROMISES)
def test_promise(promise):
    promise(METRIC)


def protected(seed=1):
    mask = random(COUNT, TOKENS, seed=seed) < 0.4
    mask[:, 2] = True
    return mask


def value(where, metric=METRIC):
    return metric(where, Constant()(where))


def texts(module, mask, **options):
    return bind(module, normal(COUNT, DEPTH, TOKENS), mask=mask, ids=ids(COUNT), **options)


def expected(probabilities, weights, mask):
    """Of `softmax(W x)`: `sum_i p_i mean_j ||W_ij - sum_k p_k W_kj||`, sample by sample in NumPy."""
    found = []
    for p, chosen in zip(probabilities, mask, strict=True):
        center = np.tensordot(p, weights, 1)
        total = 0.0
        for probability, row in zip(p, weights, strict=True):
            sizes = np.sqrt(((row - center) ** 2).sum(0))
            total += probability * sizes[chosen].mean()
        found.append(total)
    return found


def linear_softmax():
    module = seeded(lambda: Linear(DEPTH * TOKENS, CLASSES))
    weights = module.get_parameter("1.weight").detach().view(CLASSES, DEPTH, TOKENS)
    return module, weights.double().numpy()


def test_closed_form_on_embeddings():
    module, weights = linear_softmax()
    mask = protected()
    where = texts(module, mask)
    probabilities = where.logits.double().softmax(1).numpy()
    np.testing.assert_allclose(value(where), expected(probabilities, weights, mask.numpy()), rtol=1e-5)


def test_padding_is_left_out():
    """A protected token that is padding has no part in the mean, whatever the model makes of it."""
    module, weights = linear_softmax()
    mask = protected()
    present = torch.ones(COUNT, TOKENS, dtype=torch.bool)
    present[:, 5:] = False
    mask[:, 4:6] = True
    where = texts(module, mask, present=present)
    probabilities = where.logits.double().softmax(1).numpy()
    np.testing.assert_allclose(value(where), expected(probabilities, weights, (mask & present).numpy()), rtol=1e-5)


def test_one_feature_and_two_classes_by_hand():
    """`|dp/dx| = p (1 - p) |w|` for either class."""
    where = bind(seeded(lambda: Linear(1, 2)), torch.full((1, 1, 1), 0.3), mask=torch.ones(1, 1, dtype=torch.bool))
    weight = where.classifier.weights["1.weight"][:, 0]
    probability = float(where.logits.softmax(1)[0, 0])
    slope = probability * (1 - probability) * abs(float(weight[0] - weight[1]))
    assert value(where).item() == pytest.approx(2 * slope, rel=1e-5)


class Text(nn.Module):
    """Words in a context of three, a smooth network; it never sees the tokens that are hidden."""

    def __init__(self, hidden=None):
        super().__init__()
        self.words, self.head = nn.Conv1d(DEPTH, 6, 3, padding=1), nn.Linear(6, CLASSES)
        self.kept = torch.ones(TOKENS) if hidden is None else (~hidden).float()

    def forward(self, inputs):
        return self.head(torch.tanh(self.words(inputs * self.kept.to(inputs))).mean(2))


def test_finite_differences():
    module, mask = seeded(Text), protected()
    found = value(texts(module, mask))
    twin, step = seeded(Text).double(), 1e-5
    sizes = torch.zeros(COUNT, TOKENS, dtype=torch.double)
    inputs = normal(COUNT, DEPTH, TOKENS).double()
    for token in range(TOKENS):
        squares = torch.zeros(COUNT, CLASSES, dtype=torch.double)
        for channel in range(DEPTH):
            shift = torch.zeros_like(inputs)
            shift[:, channel, token] = step
            change = twin(inputs + shift).softmax(1) - twin(inputs - shift).softmax(1)
            squares += (change / (2 * step)) ** 2
        sizes[:, token] = squares.sqrt().sum(1).detach()
    torch.testing.assert_close(found.double(), (sizes * mask).sum(1) / mask.sum(1), rtol=1e-4, atol=0)


def test_a_model_blind_to_the_protected_tokens_is_perfectly_fair():
    hidden = torch.zeros(TOKENS, dtype=torch.bool)
    hidden[[1, 4]] = True
    mask = hidden.expand(COUNT, -1)
    assert value(texts(seeded(lambda: Text(hidden)), mask)).tolist() == [0.0] * COUNT
    assert (value(texts(seeded(Text), mask)) > 0.01).all()
    assert (value(texts(seeded(lambda: Text(hidden)), ~mask)) > 0.01).all()


def test_the_class_explained_does_not_matter():
    found = [value(texts(seeded(Text), protected(), target=target)) for target in (0, 3, None)]
    assert torch.equal(found[0], found[1])
    torch.testing.assert_close(found[0], found[2])


def test_all_maps_have_one_value_and_the_gradients_are_made_once():
    module = Counting(Smooth())
    where = bind(module, random(3, 3, 8, 8), mask=random(3, 8, 8) < 0.3)
    module.forwards = module.backwards = 0
    found = [METRIC(where, normal(3, 1, 8, 8, seed=seed)) for seed in range(10)]
    assert all(torch.equal(values, found[0]) for values in found)
    assert where.cost[:2] == (3, 3)
    assert (module.forwards, module.backwards) == (9, 9)
    METRIC(where, Gradient()(where))
    assert where.cost[:2] == (4, 4)  # the gradient's own


def test_empty_masks_are_undefined():
    mask = protected()
    mask[1] = False
    values, reasons = METRIC.evaluate(texts(seeded(Text), mask), torch.ones(COUNT, 1, TOKENS))
    assert values.isnan().tolist() == [False, True, False]
    assert reasons["empty mask"].tolist() == [False, True, False]
    values, reasons = METRIC.evaluate(texts(seeded(Text), None), torch.ones(COUNT, 1, TOKENS))
    assert values.isnan().all()
    assert reasons["no mask"].all()


def test_nothing_is_spent_over_the_budget():
    where = texts(seeded(Text), protected())
    values, reasons = AccumulatedPredictionSensitivity(3).evaluate(where, torch.ones(COUNT, 1, TOKENS))
    assert values.isnan().all()
    assert reasons["skipped: cost"].all()
    assert where.cost[:2] == (0, 0)
    for budget in (CLASSES, 0):
        assert torch.equal(value(where, AccumulatedPredictionSensitivity(budget)), value(where))


def test_a_negative_budget_is_refused():
    with pytest.raises(ValueError, match=r"AccumulatedPredictionSensitivity: budget is a number of classes, .* got -1"):
        AccumulatedPredictionSensitivity(-1)


def test_protected_features_come_before_the_mask():
    """The closed form with what is marked as protected, whatever the rationale is, or where there is none."""
    module, weights = linear_softmax()
    marked, mask = protected(), protected(seed=5)
    for rationale in (None, mask):
        where = texts(module, rationale, protected=marked)
        probabilities = where.logits.double().softmax(1).numpy()
        np.testing.assert_allclose(value(where), expected(probabilities, weights, marked.numpy()), rtol=1e-5)
    blind = seeded(lambda: Text(marked[0]))
    assert value(texts(blind, ~marked, protected=marked[:1].expand(COUNT, -1))).tolist() == [0.0] * COUNT


def test_nothing_protected_is_undefined():
    """A text without a marked token has no value, though it has a rationale."""
    marked = protected()
    marked[1] = False
    values, reasons = METRIC.evaluate(texts(seeded(Text), ~marked, protected=marked), torch.ones(COUNT, 1, TOKENS))
    assert values.isnan().tolist() == [False, True, False]
    assert reasons["no protected features"].tolist() == [False, True, False]

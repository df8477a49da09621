"""CGIM: agreement of importance with the concepts of classes, from whole matrices by hand."""

import numpy as np
import pytest
import torch
from known_answers import normal, random
from torch import nn

from xaieval.attributions.constant import Constant
from xaieval.attributions.gradient import Gradient
from xaieval.attributions.input_x_gradient import InputXGradient
from xaieval.attributions.permuted import Permuted
from xaieval.classifier import Classifier
from xaieval.component import Metric
from xaieval.config import default
from xaieval.laws.text_toys import Reader, embeddings
from xaieval.laws.toys import seeded
from xaieval.metrics.cgim import CGIM
from xaieval.modalities.texts import Texts
from xaieval.modalities.vectors import Vectors
from xaieval.models.bottleneck_head import ConceptHead
from xaieval.pooled import pseudo_values
from xaieval.unsupported import UnsupportedError

SAMPLES, CONCEPTS, CLASSES = 60, 7, 5


def head(weight):
    layer = nn.Linear(weight.shape[1], len(weight), bias=False)
    layer.weight = nn.Parameter(weight.clone())
    return Classifier(ConceptHead(layer), modality=Vectors(), batch_size=64)


def world(seed=0):
    """Concepts of classes, samples with most of them, scores that mostly follow, and a head that often is right."""
    truth = (random(CLASSES, CONCEPTS, seed=seed) > 0.5).float()
    target = torch.arange(SAMPLES) % CLASSES
    holds = (truth[target] > 0) ^ (random(SAMPLES, CONCEPTS, seed=seed + 1) > 0.9)
    scores = 2 * holds.float() - 1 + 0.5 * normal(SAMPLES, CONCEPTS, seed=seed + 2)
    weight = 2 * truth - 1 + 0.5 * normal(CLASSES, CONCEPTS, seed=seed + 3)
    return weight, scores, holds, target


def bound(weight, scores, holds, target):
    return head(weight).explicand(scores[:, None], target, mask=holds)


def cosines(first, second):
    """The mean over rows of cosines, where both have a length."""
    pairs = [(a, b) for a, b in zip(first, second, strict=True) if np.any(a != 0) and np.any(b != 0)]
    return np.mean([a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in pairs])


def by_hand(weight, scores, holds, target):
    """The paper's three types from the matrices theta, U* and V `(L, K)`; classes without a right prediction lack."""
    theta, scores, holds, target = (part.double().numpy() for part in (weight.T, scores, holds, target))
    predicted = (scores @ theta).argmax(1)
    right = predicted == target
    classes = [k for k in range(theta.shape[1]) if np.any(right & (target == k))]
    own = np.stack([scores[right & (target == k)].mean(0) for k in classes], 1)
    truth = np.stack([holds[target == k].mean(0) for k in classes], 1)
    theta = theta[:, classes]
    return cosines(theta, truth), cosines(own, truth), cosines(theta * own, truth), right.mean(), len(classes)


def types(work):
    """The three types as users ask for them."""
    metric, scores = CGIM(), default("metric", "cgim_scores")
    return (
        metric.aggregate(metric(work, Gradient()(work))),
        scores.aggregate(scores(work, Gradient()(work))),
        metric.aggregate(metric(work, InputXGradient()(work))),
    )


@pytest.mark.parametrize("seed", range(4))
def test_the_three_types_agree_with_matrices(seed):
    given = world(10 * seed)
    *expected, right, classes = by_hand(*given)
    assert 0.3 < right < 1
    assert classes > 2
    assert types(bound(*given)) == pytest.approx(expected, rel=1e-5)


def test_classes_may_be_missing():
    """One has no sample, and of another one no prediction is right."""
    weight, scores, holds, target = world()
    weight[1] = -100 * scores[target == 1].mean(0)
    kept = target != 3
    given = (weight, scores[kept], holds[kept], target[kept])
    *expected, _, classes = by_hand(*given)
    assert classes == CLASSES - 2
    assert types(bound(*given)) == pytest.approx(expected, rel=1e-5)


def test_wrong_predictions_count_for_the_truth_alone():
    weight, scores, holds, target = world()
    work = bound(weight, scores, holds, target)
    maps = InputXGradient()(work)
    wrong = work.logits.argmax(1) != target
    assert 0 < int(wrong.sum()) < SAMPLES / 2
    value = CGIM().aggregate(CGIM()(work, maps))
    assert CGIM().aggregate(CGIM()(work, torch.where(wrong[:, None, None], 50.0, maps))) == pytest.approx(value)
    assert CGIM().aggregate(CGIM()(work, torch.where(wrong[:, None, None], maps, 50 + maps))) != pytest.approx(value)
    other = bound(weight, scores, torch.where(wrong[:, None], ~holds, holds), target)
    assert CGIM().aggregate(CGIM()(other, maps)) != pytest.approx(value)


def test_a_perfect_head_reaches_1():
    """theta = V; with scores u = V of each class the two others are 1 as well."""
    truth = torch.eye(CLASSES)
    truth[:, 0] += 0.5  # shares of samples with the concept are 1 in class 0, and 1 / 2 elsewhere
    target = torch.arange(40) % CLASSES
    holds = truth[target] >= torch.where(torch.arange(40) % 2 == 0, 0.5, 1.0)[:, None]
    share = torch.stack([holds[target == k].float().mean(0) for k in range(CLASSES)])
    work = bound(share, 2 * torch.eye(CLASSES)[target] + 0.1, holds, target)
    assert torch.equal(work.logits.argmax(1), target)
    first, second, third = types(work)
    assert first == pytest.approx(1)
    assert second < 1
    assert third < 1
    exact = bound(share, torch.eye(CLASSES)[target], torch.eye(CLASSES)[target] > 0, target)
    assert types(exact)[1:] == pytest.approx((1, 1))


def test_the_negated_map_has_the_negated_value():
    work = bound(*world())
    maps = InputXGradient()(work)
    one, other = (CGIM().aggregate(CGIM()(work, given)) for given in (maps, -maps))
    assert other == pytest.approx(-one)


def test_random_maps_stand_at_chance_and_constant_ones_above():
    """Around 0 with signs; of a constant map the cosine of ones and each concept's shares, here above many a method."""
    work = bound(*world())
    values = []
    for seed in range(200):
        maps = normal(SAMPLES, 1, CONCEPTS, seed=seed)
        values.append(CGIM().aggregate(CGIM()(work, maps)))
    assert abs(np.mean(values)) < 4 * np.std(values) / np.sqrt(len(values))
    holds, target = work.mask, work.target
    share = torch.stack([holds[target == k].float().mean(0) for k in range(CLASSES)], 1).double().numpy()
    flat = CGIM().aggregate(CGIM()(work, Constant()(work)))
    assert flat == pytest.approx(cosines(np.ones_like(share), share))
    assert abs(CGIM().aggregate(CGIM()(work, Permuted()(work)))) < types(work)[0]


def test_concepts_without_a_row_are_left_out():
    """One holds nowhere, one has no weight; each other one stands for itself."""
    weight, scores, holds, target = world()
    holds[:, 2], weight[:, 4] = False, 0.0
    work = bound(weight, scores, holds, target)
    values = CGIM()(work, Gradient()(work)).double()
    each = CGIM().by_concept(values)
    assert each.isnan().tolist() == [place in (2, 4) for place in range(CONCEPTS)]
    assert CGIM().aggregate(values) == pytest.approx(float(each[[0, 1, 3, 5, 6]].mean()))
    assert CGIM().aggregate(values) == pytest.approx(by_hand(weight, scores, holds, target)[0], rel=1e-5)


def test_one_class_says_nothing():
    weight, scores, holds, target = world()
    work = bound(weight, scores[target == 0], holds[target == 0], target[target == 0])
    values = CGIM()(work, InputXGradient()(work))
    assert np.isnan(CGIM().aggregate(values))
    assert pseudo_values(CGIM(), values.double().tolist())[1] == CGIM.without_value


def test_tables_have_its_jackknife():
    work = bound(*world())
    values = CGIM()(work, InputXGradient()(work)).double()
    found, reason = pseudo_values(CGIM(), values.tolist())
    scores = np.asarray(found)
    assert reason is None
    assert np.mean(scores) == pytest.approx(CGIM().aggregate(values))
    without = [CGIM().aggregate(_without(values, row)) for row in range(SAMPLES)]
    assert scores - scores.mean() == pytest.approx((SAMPLES - 1) * (np.mean(without) - np.array(without)))


def test_leaving_one_out_may_take_a_class_or_a_concept():
    """One after the other is what it has to give; of a class one sample is left, of a concept one score."""
    weight, scores, holds, target = world()
    kept = (target != 1) | (torch.arange(SAMPLES) == 6)
    holds[:, 2], scores[:, 4] = False, 0.0
    holds[10, 2], scores[12, 4] = True, 1.0
    work = bound(weight, scores[kept], holds[kept], target[kept])
    for maps in (InputXGradient()(work), Gradient()(work)):
        values = CGIM()(work, maps).double()
        expected = torch.stack([CGIM().by_concept(_without(values, row)) for row in range(len(values))])
        torch.testing.assert_close(CGIM().leave_one_out(values), expected.nanmean(1))
        torch.testing.assert_close(CGIM().leave_one_out(values), Metric.leave_one_out(CGIM(), values))
    assert len(expected.isnan().sum(1).unique()) > 1
    two = values[(values[:, -2] == 1) | (values[:, -2] == 2)]
    assert CGIM().leave_one_out(two).isnan().sum() == int(two[two[:, -2] == 1, -1].sum())


def _without(values, row):
    return torch.cat((values[:row], values[row + 1 :]))


def test_explaining_predictions_counts_each_as_right():
    weight, scores, holds, target = world()
    work = head(weight).explicand(scores[:, None], mask=holds)
    assert CGIM()(work, Gradient()(work))[:, -1].tolist() == [1.0] * SAMPLES
    assert CGIM()(work, Gradient()(work))[:, -2].tolist() == (scores @ weight.T).argmax(1).tolist()
    assert CGIM()(bound(weight, scores, holds, target), Gradient()(work))[:, -1].mean() < 1


def test_texts_are_refused():
    classifier = Classifier(seeded(Reader), modality=Texts(), batch_size=8)
    inputs = embeddings(2)
    there = torch.ones_like(inputs[:, 0], dtype=torch.bool)
    work = classifier.explicand(inputs, 0, mask=there, present=there, attended=there)
    with pytest.raises(UnsupportedError, match="a concept means nothing for this kind of input"):
        CGIM()(work, Gradient()(work))


def test_bad_options_are_refused():
    with pytest.raises(ValueError, match="CGIM: of must be one of attribution, scores, got 'weights'"):
        CGIM(of="weights")

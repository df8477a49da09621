"""Random logit: known answers on linear models, and which class is drawn."""

import numpy as np
import pytest
import scipy.stats
import torch
from known_answers import Smooth, bind, ids, random
from metric_promises import PROMISES
from skimage.metrics import structural_similarity

from xaieval.attributions.constant import Constant
from xaieval.attributions.edge_detector import EdgeDetector
from xaieval.attributions.gradient import Gradient
from xaieval.attributions.input_x_gradient import InputXGradient
from xaieval.attributions.random import Random
from xaieval.laws.toys import Linear, seeded
from xaieval.metrics.random_logit import RandomLogit
from xaieval.similarity import SIMILARITIES

EACH = [RandomLogit(similarity=name) for name in SIMILARITIES]


@pytest.mark.parametrize("promise", PROMISES)
@pytest.mark.parametrize("metric", EACH, ids=SIMILARITIES)
def test_promise(promise, metric):
    promise(metric)


@pytest.mark.parametrize("name", SIMILARITIES)
def test_linear_model_with_two_classes(name):
    """The other class is certain: the value is the similarity of the two rows of weights."""
    module = seeded(lambda: Linear(192, 2))
    rows = [row.sum(0).double().numpy() for row in module.get_parameter("1.weight").detach().view(2, 3, 8, 8)]
    where = bind(module, random(3, 3, 8, 8), target=[0, 1, 1])
    if name == "spearman":
        expected = scipy.stats.spearmanr(rows[0].ravel(), rows[1].ravel()).statistic
    else:
        expected = structural_similarity(*((1 + row / np.abs(row).max()) / 2 for row in rows), win_size=7, data_range=1)
    found = RandomLogit(similarity=name)(where, Gradient()(where), Gradient())
    np.testing.assert_allclose(found, [expected] * 3, atol=1e-4)  # scores within 1e-6 of the largest are tied


def test_every_other_class_is_drawn_and_never_the_explained_one():
    count, classes = 400, 5
    where = bind(seeded(lambda: Linear(3, classes)), random(count, 3, 1, 1), target=2, ids=ids(count))
    other = RandomLogit()._other(where)
    drawn = torch.bincount(other, minlength=classes)
    assert drawn[2] == 0
    # Each of four classes with probability 1/4: four standard deviations are 35.
    assert ((drawn[[0, 1, 3, 4]] - 100).abs() < 35).all()
    assert not torch.equal(RandomLogit(seed=1)._other(where), other)


@pytest.mark.parametrize("metric", EACH, ids=SIMILARITIES)
@pytest.mark.parametrize("method", [Constant(), EdgeDetector(), Random()])
def test_what_ignores_the_class_has_the_worst_value(metric, method):
    where = bind(Smooth(), random(3, 3, 8, 8))
    assert metric(where, method(where), method).tolist() == pytest.approx([1, 1, 1])


def test_one_class_is_undefined():
    where = bind(seeded(lambda: Linear(192, 1)), random(3, 3, 8, 8))
    values, reasons = RandomLogit().evaluate(where, Gradient()(where), Gradient())
    assert values.isnan().all()
    assert reasons["one class"].all()


def test_the_other_class_is_bound_once_for_all_methods_and_similarities():
    where = bind(Smooth(), random(3, 3, 8, 8))
    for method in (Gradient(), InputXGradient()):
        for metric in EACH:
            metric(where, method(where), method)
    assert where.cost[:2] == (2, 2)  # one gradient for each class


def test_an_unknown_similarity_is_refused():
    with pytest.raises(ValueError, match="RandomLogit: similarity must be one of spearman, ssim, got 'cosine'"):
        RandomLogit(similarity="cosine")

"""TCAV: closed forms, a slow derivation, and what chance looks like."""

import itertools

import numpy as np
import pytest
import torch
from concept_toys import colors, samples
from scipy.stats import ttest_ind
from torch import nn

from xaieval.classifier import Classifier
from xaieval.concept_vectors import Fitting, seen
from xaieval.laws.toys import Smooth, Transformer, images, seeded
from xaieval.paired_tests import holm
from xaieval.tcav import TCAV, sensitivities, share, t_test

QUICK = TCAV(runs=10, samples=15, fitting=Fitting("difference"))


class Bent(nn.Sequential):
    """Not linear behind its first layer."""

    def __init__(self):
        super().__init__(
            nn.Conv2d(3, 5, 3, 2), nn.Softplus(), nn.Conv2d(5, 6, 3), nn.Tanh(), nn.Flatten(), nn.Linear(150, 4)
        )


def random(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def at(work, layer):
    """The sensitivities at a layer."""
    return sensitivities(work.activations((layer,))[layer][1])


@pytest.mark.parametrize(("module", "layer"), [(Bent, "0"), (Smooth, "1"), (Transformer, "blocks.0")])
def test_the_derivative_is_that_of_a_small_step_at_all_places(module, layer):
    module = seeded(module).eval().double()
    vectors, target, step = random(3, 8 if layer == "blocks.0" else 5 if layer == "0" else 6), [0, 1, 2], 1e-6
    found = at(Classifier(module.float()).explicand(images(), target), layer) @ vectors.T
    module.double()
    for vector, row in itertools.product(range(3), range(3)):
        moved = []
        for sign in (-1, 1):
            add = sign * step * vectors[vector].double()
            part = module.get_submodule(layer)
            if layer == "blocks.0":  # the class token stands for no place
                change = torch.cat((torch.zeros(1, len(add)), add.expand(16, -1)))
            else:
                change = add[:, None, None]
            handle = part.register_forward_hook(lambda *call, change=change: call[2] + change)
            moved.append(module(images()[row : row + 1].double())[0, target[row]])
            handle.remove()
        slope = float((moved[1] - moved[0]).detach() / (2 * step))
        assert float(found[row, vector]) == pytest.approx(slope, rel=1e-3, abs=1e-4)


def test_the_opposite_vector_has_the_rest_and_a_scaled_one_the_same():
    sensitivity, vectors = random(40, 6), random(5, 6).flip(0)
    assert torch.allclose(share(sensitivity, -vectors), 1 - share(sensitivity, vectors))
    assert torch.equal(share(sensitivity, 7 * vectors), share(sensitivity, vectors))
    expected = [sum(float(row @ vector) > 0 for row in sensitivity) / 40 for vector in vectors]
    assert torch.allclose(share(sensitivity, vectors), torch.tensor(expected))


def test_no_change_is_not_positive():
    assert share(torch.zeros(3, 2), torch.ones(1, 2)).tolist() == [0]
    assert share(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[1.0, 0.0]])).tolist() == [0.5]


def test_in_a_model_that_is_linear_behind_the_layer_all_samples_agree():
    module = seeded(lambda: colors().module)
    work = Classifier(module).explicand(torch.stack([one.input for one in samples(12)]), 2)
    sensitivity = at(work, "1")
    assert torch.allclose(sensitivity, module.get_parameter("4.weight")[2].detach().expand(12, -1), atol=1e-6)
    assert set(share(sensitivity, random(30, 6)).tolist()) <= {0.0, 1.0}


def explained():
    """A model whose class 1 grows with red and does not depend on blue."""
    classifier = colors()
    with torch.no_grad():
        classifier.module.get_parameter("4.weight").zero_()
        classifier.module.get_parameter("4.weight")[1, 0] = 1.0
    known = seen(classifier, samples(80), "1")
    work = classifier.explicand(torch.stack([one.input for one in samples(80)]), 1)
    return known, at(work, "1")


def test_a_concept_that_the_class_uses_is_found_and_one_that_it_does_not_use_is_not():
    known, sensitivity = explained()
    ones = torch.ones(80, dtype=torch.long)
    found = QUICK.test(known.features, known.concepts, ones, sensitivity, torch.tensor([1, 1, 1]))
    assert found.share[:2].tolist() == [1, 0]  # red, and green, which is never beside it
    assert 0 < found.random.mean() < 1
    assert found.magnitude[0] > 0.3
    assert abs(found.magnitude[2]) < 0.2
    assert (found.adjusted[:2] < 0.05).all()
    assert found.p[2] > 0.05
    assert found.adjusted.tolist() == holm(found.p).tolist()


def test_concepts_at_random_are_found_as_often_as_the_level_says():
    features, sensitivity = random(300, 10), random(300, 10).flip(1) + 0.3
    concepts = torch.rand(300, 40, generator=torch.Generator().manual_seed(1)) < 0.5
    classes = torch.zeros(40, dtype=torch.long)
    found = TCAV(runs=10, samples=20, fitting=Fitting("difference")).test(
        features, concepts, torch.zeros(300, dtype=torch.long), sensitivity, classes
    )
    assert (found.p < 0.05).mean() < 0.2
    assert (found.adjusted > 0.05).all()


def test_draws_depend_on_the_seed_alone():
    known, _ = explained()
    first, same, other = (
        TCAV(runs=3, samples=5, fitting=Fitting("difference"), seed=seed).vectors(
            known.features.double().numpy(), known.concepts.numpy()
        )
        for seed in (0, 0, 1)
    )
    assert np.array_equal(first[0], same[0])
    assert not np.array_equal(first[0], other[0])
    assert not np.array_equal(first[1], other[1])
    assert np.allclose(np.linalg.norm(first[0], axis=2), 1)
    assert first[1].shape == (3, 6)


def test_a_concept_that_holds_too_seldom_and_a_class_without_samples_have_no_score():
    known, sensitivity = explained()
    concepts = known.concepts.clone()
    concepts[:, 0] = False
    concepts[:3, 0] = True
    found = QUICK.test(known.features, concepts, torch.ones(80, dtype=torch.long), sensitivity, torch.tensor([1, 0, 1]))
    assert np.isnan(found.share).tolist() == [True, True, False]
    assert np.isnan(found.p).tolist() == [True, True, False]


def test_the_test_is_that_of_scipy_where_something_varies():
    rng = np.random.default_rng(0)
    first, second = rng.random(12), rng.random(9) + 0.3
    assert t_test(first, second) == pytest.approx(ttest_ind(first, second).pvalue)
    assert t_test(np.ones(3), np.ones(4)) == 1
    assert t_test(np.ones(3), np.zeros(4)) == 0
    assert 0 < t_test(np.ones(3), second) < 1
    assert np.isnan(t_test(np.array([np.nan, 1]), second))


def test_options_that_are_none_are_refused():
    with pytest.raises(ValueError, match="at least 2 runs and samples"):
        TCAV(runs=1)
    with pytest.raises(ValueError, match="at least 4 samples"):
        QUICK.vectors(np.ones((3, 2)), np.ones((3, 1), dtype=bool))

"""CEM: the share of the first l concepts that hold."""

import itertools

import numpy as np
import pytest
import torch
from known_answers import bind, constant, normal, random
from metric_promises import PROMISES

from xaieval.attributions.constant import Constant
from xaieval.classifier import Classifier
from xaieval.config import default
from xaieval.metrics.cem import CEM
from xaieval.modalities.images import Images
from xaieval.modalities.vectors import Vectors
from xaieval.unsupported import UnsupportedError

CONCEPTS = 9


@pytest.mark.parametrize("promise", PROMISES)
def test_promise(promise, monkeypatch):
    """Kept on pixels that pass for concepts."""
    monkeypatch.setattr(Images, "concepts", lambda self: ())
    promise(CEM(top=5))


def concepts(holds, present=None):
    """Some samples of which these concepts hold, bound to a model that says nothing."""
    classifier = Classifier(constant_head(), modality=Vectors(), batch_size=8)
    return classifier.explicand(torch.zeros(len(holds), 1, CONCEPTS), 0, mask=holds, present=present)


def constant_head():
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(CONCEPTS, 2))


def some(count=6):
    holds = random(count, CONCEPTS, seed=1) > 0.6
    holds[:, 0], holds[:, 1] = True, False
    return holds


@pytest.mark.parametrize("top", [1, 3, 5, 9])
def test_agrees_with_a_loop(top):
    maps, holds = normal(6, 1, CONCEPTS), some()
    expected = []
    for scores, inside in zip(maps[:, 0].numpy(), holds.numpy(), strict=True):
        first = sorted(range(CONCEPTS), key=lambda place: -scores[place])[:top]
        expected.append(sum(inside[place] for place in first) / top)
    values = torch.tensor(expected, dtype=torch.float32)
    share = holds.float().mean(1)
    work = concepts(holds)
    torch.testing.assert_close(CEM(top, above_chance=False)(work, maps), values)
    torch.testing.assert_close(CEM(top).raw(work, maps), values)
    torch.testing.assert_close(CEM(top)(work, maps), (values - share) / (1 - share))


def test_perfect_scores_reach_1_up_to_the_number_of_concepts_that_hold():
    """`u = 1` where a concept holds and 0 elsewhere, with positive weights."""
    holds = some()
    maps = holds[:, None].float() * (1 + random(1, 1, CONCEPTS))
    for top in range(1, CONCEPTS + 1):
        found = CEM(top, above_chance=False)(concepts(holds), maps)
        torch.testing.assert_close(found, (holds.sum(1) / top).clamp(max=1))


@pytest.mark.parametrize("top", [1, 3, 5])
def test_chance_is_the_share_of_concepts_that_hold(top):
    """Of a constant map exactly, and of all orders on average."""
    holds = some(2)
    work = concepts(holds)
    share = holds.float().mean(1)
    flat = Constant()(work)
    torch.testing.assert_close(default("metric", f"cem_{top}")(work, flat), share)
    torch.testing.assert_close(CEM(top)(work, flat), torch.zeros(2), atol=1e-6, rtol=0)
    torch.testing.assert_close(CEM(top).chance(work), share)
    hits = [np.mean([place in (0, 3) for place in order[:top]]) for order in itertools.permutations(range(6))]
    assert np.mean(hits) == pytest.approx(2 / 6)


def test_the_signs_of_scores_count():
    """Evidence against a class is no evidence for it, however large."""
    holds = torch.zeros(1, CONCEPTS, dtype=torch.bool)
    holds[:, 4] = True
    maps = torch.zeros(1, 1, CONCEPTS)
    maps[..., 4], maps[..., 2] = 1.0, -10.0
    assert CEM(1, above_chance=False)(concepts(holds), maps).item() == 1
    assert CEM(1, above_chance=False)(concepts(holds), -maps).item() == 0


def test_fewer_concepts_than_are_looked_at():
    present = torch.zeros(6, CONCEPTS, dtype=torch.bool)
    present[:, :3] = True
    holds = some()
    found = CEM(5, above_chance=False)(concepts(holds, present), normal(6, 1, CONCEPTS))
    torch.testing.assert_close(found, holds[:, :3].float().mean(1))


def test_nothing_to_tell_apart_is_undefined():
    holds = some(3)
    holds[1], holds[2] = False, True
    values, reasons = CEM(above_chance=False).evaluate(concepts(holds), normal(3, 1, CONCEPTS))
    assert values.isnan().tolist() == [False, True, True]
    assert reasons["empty mask"].tolist() == [False, True, False]
    assert reasons["mask covers everything"].tolist() == [False, False, True]


def test_pixels_are_no_concepts():
    work = bind(constant(), random(2, 3, 4, 4), mask=torch.ones(2, 4, 4, dtype=torch.bool))
    with pytest.raises(UnsupportedError, match="a concept means nothing for this kind of input"):
        CEM()(work, work.inputs)


def test_bad_options_are_refused():
    with pytest.raises(ValueError, match="CEM: top is the number of features that are looked at, at least 1, got 0"):
        CEM(top=0)

"""Metrics of parts on drawn scenes and a model of which the use of each part is known."""

import pytest
import torch

from xaieval import part_importance
from xaieval.attributions.input_x_gradient import InputXGradient
from xaieval.attributions.part_effects import PartEffects
from xaieval.attributions.random import Random
from xaieval.collate import collate
from xaieval.component import Method
from xaieval.datasets.preprocess import Preprocess
from xaieval.datasets.scenes import Scenes
from xaieval.intervention import effects, shown_class
from xaieval.metrics.background_independence import BackgroundIndependence
from xaieval.metrics.controlled_synthetic_data_check import ControlledSyntheticDataCheck
from xaieval.metrics.distractibility import Distractibility
from xaieval.metrics.part_agreement import PartAgreement
from xaieval.metrics.part_completeness import PartCompleteness
from xaieval.metrics.part_precision import PartPrecision
from xaieval.metrics.preservation_check import PreservationCheck
from xaieval.metrics.single_deletion import SingleDeletion
from xaieval.metrics.target_sensitivity import TargetSensitivity
from xaieval.models import planted_scenes
from xaieval.part_importance import THRESHOLDS, choose_threshold, sufficient_sets

COUNT, CUED = 8, 6


@pytest.fixture(scope="module")
def models():
    return [planted_scenes.load(spurious=spurious, batch_size=8) for spurious in (False, True)]


def drawn(**options):
    return list(Scenes(**options).load(Preprocess(64, 64)))


def bound(classifier, samples):
    return classifier.explicand(
        **collate(samples), target=[sample.target for sample in samples], ids=[sample.id for sample in samples]
    )


@pytest.fixture(scope="module")
def plain(models):
    return bound(models[0], drawn(count=COUNT))


def test_effects_are_those_that_the_model_tells(models, plain):
    worlds = zip(plain.worlds, plain.target.tolist(), strict=True)
    expected = torch.stack([planted_scenes.effects(models[0], world, target) for world, target in worlds])
    torch.testing.assert_close(effects(plain), expected, rtol=1e-4, atol=1e-4)
    assert (effects(plain)[:, 5:].abs() < 1e-4).all()  # nuisance parts tell nothing
    assert torch.equal(shown_class(plain), plain.target)
    assert (sufficient_sets(plain).sum(2).amax(1) <= 3).all()  # any three parts tell the class


def test_the_oracle_is_best_and_the_exact_map_close_to_it(plain):
    oracle, exact = PartEffects()(plain), InputXGradient()(plain)
    assert PartAgreement()(plain, oracle).tolist() == pytest.approx([1.0] * COUNT)
    assert PartPrecision()(plain, oracle).tolist() == pytest.approx([1.0] * COUNT)
    assert PartAgreement()(plain, exact).mean() > 0.98
    for metric in (ControlledSyntheticDataCheck(), PreservationCheck()):
        assert metric(plain, exact).tolist() == [1.0] * COUNT
    assert TargetSensitivity()(plain, exact, InputXGradient()).tolist() == [1.0] * COUNT
    assert TargetSensitivity()(plain, oracle, PartEffects()).tolist() == [1.0] * COUNT


def test_a_map_on_a_nuisance_part_is_below_chance(plain):
    for part in (5, 6):
        there = plain.parts.visible[:, part] > 0
        nuisance = plain.parts.masks[:, part, None].float()
        assert there.sum() > COUNT / 2
        assert (PartAgreement()(plain, nuisance)[there] < 0).all()
        assert (PartPrecision()(plain, nuisance)[there] <= 0).all()
        assert SingleDeletion()(plain, nuisance)[there].mean() < 0.48  # dilated masks of neighbors get some
    assert PartAgreement()(plain, Random()(plain)).mean().abs() < 0.4


def test_the_cue_is_found_where_it_is_planted_and_not_otherwise(models):
    independence, distractions = {}, {}
    for cue in (0.0, 1.0):
        samples = drawn(count=CUED, spurious=cue)
        read = bound(models[1], samples)
        given = InputXGradient()(read)  # exact for the model that reads the cue
        for spurious, where in enumerate((bound(models[0], samples), read)):
            independence[cue, spurious] = BackgroundIndependence()(where, given)
            if cue:
                distractions[spurious] = Distractibility(0.05)(where, given)
    assert independence[1.0, 0].tolist() == independence[0.0, 0].tolist() == [1.0] * CUED
    assert (independence[1.0, 1] < 1).sum() == CUED - 1  # once it is too small, or hides behind the creature
    assert independence[0.0, 1].mean() > 0.95  # a cue of another class does not lower this one's logit
    assert (distractions[0] <= distractions[1]).all()
    assert distractions[0].mean() < distractions[1].mean() - 0.05


def test_the_chosen_threshold_is_one_that_tells_parts_apart(models):
    choice = choose_threshold([bound(models[0], drawn(count=COUNT, split="validation"))], InputXGradient())
    assert 1 / 15 < choice.threshold < 5 / 15  # the smallest and the largest of the parts' shares
    assert choice.value > choice.values[0] + 0.1
    assert len(choice.values) == len(THRESHOLDS)
    held_out = Scenes(count=COUNT, split="validation")
    scored = bound(models[0], drawn(count=COUNT))
    for metric in (PartCompleteness, Distractibility):
        chosen, told = metric(held_out=held_out), metric(choice.threshold)
        given = InputXGradient()(scored)
        assert torch.equal(chosen(scored, given, InputXGradient()), told(scored, given))
    assert not torch.equal(PartCompleteness()(scored, given), PartCompleteness(choice.threshold)(scored, given))


def test_the_threshold_is_chosen_once_for_each_method(monkeypatch, plain):
    asked, metric = [], PartCompleteness(held_out=Scenes(count=4, split="validation"))

    def choose(explicands, method):
        ids = [name for one in explicands for name in one.ids]
        asked.append((method, ids))
        return choose_threshold([bound(plain.classifier, drawn(count=4, split="validation"))], method)

    monkeypatch.setattr(part_importance, "choose_threshold", choose)
    for method in (InputXGradient(), InputXGradient(), Random()):
        assert metric(plain, method(plain), method).isfinite().all()
    assert [method for method, _ in asked] == [InputXGradient(), Random()]
    classifier = planted_scenes.load(batch_size=8)
    for turn in (1, 2):  # other weights, another threshold
        work = bound(classifier, drawn(count=4))
        metric(work, Random()(work), Random())
        assert len(asked) == 2 + turn
        with torch.no_grad():
            next(classifier.module.parameters()).mul_(1)
    assert asked[0][1] == [sample.id for sample in drawn(count=4, split="validation")]


def test_without_a_positive_map_there_is_no_threshold(plain):
    class Negative(Method):
        units, reference = "importance", "none"

        def attribute(self, explicand):
            return -torch.ones_like(explicand.inputs[:, :1])

    metric, positive = PartCompleteness(held_out=Scenes(count=4, split="validation")), InputXGradient()(plain)
    values, reasons = metric.evaluate(plain, positive, Negative())
    assert values.isnan().all()
    assert reasons["no threshold on held-out samples"].all()
    with pytest.raises(ValueError, match="held_out chooses the threshold of a method, and the map came without one"):
        metric(plain, positive)

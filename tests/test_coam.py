"""Concept activation maps: their means are the margins, and what they cost."""

import pytest
import torch
from concept_toys import colors, samples
from known_answers import random
from torch import nn

from xaieval.attributions.coam import CoAM, concept_maps
from xaieval.attributions.eigen_cam import EigenCAM
from xaieval.classifier import Classifier
from xaieval.concept_model import at, scorer
from xaieval.laws.bottleneck_toys import bottleneck, bright
from xaieval.laws.toys import Counting, General, Transformer, bright_images, images, seeded
from xaieval.token_grid import Tokens
from xaieval.unsupported import UnsupportedError

DEPTH = 8


def made():
    return seeded(lambda: bottleneck(General(), "6", DEPTH)).eval()


def test_d_times_the_mean_of_a_map_and_the_intercept_is_the_margin():
    module, concepts = made(), torch.tensor([0, 4, 9])
    work = at(Classifier(module).explicand(images(), 0), concepts)
    maps = concept_maps(work)
    assert maps.shape == (3, 1, 8, 8)
    expected = work.clean.logit - module.margins.bias[concepts]
    assert torch.allclose(DEPTH * maps.mean((1, 2, 3)), expected, atol=1e-5)


@pytest.mark.parametrize("residual", [False, True])
def test_of_a_class_it_is_the_logit_without_what_has_no_place(residual):
    module, target = made(), torch.tensor([3, 0, 1])
    if residual:
        module.residual = nn.Linear(DEPTH, 4)
    work = Classifier(module).explicand(images(), target)
    logit = DEPTH * concept_maps(work).mean((1, 2, 3)) + (module.head.weight @ module.margins.bias)[target]
    logit = logit + module.head.bias[target]
    if residual:
        logit = logit + module.residual(module.features(images()))[range(3), target]
    assert torch.allclose(work.clean.logit, logit.detach(), atol=1e-5)


def test_a_class_is_the_weighted_sum_of_its_concepts():
    module = made()
    work = Classifier(module).explicand(images(), 2)
    maps = [CoAM()(at(work, torch.full((3,), concept))) for concept in range(10)]
    expected = torch.stack([weight * one for weight, one in zip(module.head.weight[2].detach(), maps, strict=True)])
    assert torch.allclose(CoAM()(work), expected.sum(0), atol=1e-6)


def test_it_is_upsampled_and_keeps_its_values():
    work = at(Classifier(bright()).explicand(random(2, 3, 12, 12), 0), torch.tensor([0, 0]))
    hidden = torch.relu(bright().base.get_submodule("0")(work.inputs)).sum(1, keepdim=True) * 2**-0.5 / 2
    assert torch.allclose(CoAM()(work), hidden, atol=1e-6)


def test_it_shows_where_a_concept_is():
    inputs, mask = bright_images(3, 24, 6)
    maps = CoAM()(at(Classifier(bright()).explicand(inputs, 0), torch.zeros(3, dtype=torch.long)))[:, 0]
    assert bool(mask.flatten(1).gather(1, maps.flatten(1).argmax(1)[:, None]).all())


def test_all_concepts_cost_one_forward():
    module = Counting(made())
    classifier = Classifier(module, batch_size=4)
    CoAM()(classifier.explicand(images(), 0))  # looks up where layers have places, which is not counted
    work = classifier.explicand(images(), 0)
    before = module.forwards
    for concept in range(10):
        asked = at(work, torch.full((3,), concept))
        masked = asked.like(mask=torch.ones(3, 16, 16, dtype=torch.bool))
        assert torch.equal(CoAM()(asked), CoAM()(masked))
    EigenCAM(layer="model.module.base.6")(asked)  # whatever reads the layer
    assert module.forwards - before == 3
    assert (work.cost.forwards, work.cost.backwards) == (1, 0)


def test_other_inputs_and_weights_have_maps_of_their_own():
    work = at(Classifier(made()).explicand(images(), 0), torch.tensor([1, 2, 3]))
    other = work.like(inputs=images(seed=1))
    fresh = at(Classifier(made()).explicand(images(seed=1), 0), torch.tensor([1, 2, 3]))
    assert torch.allclose(CoAM()(other), CoAM()(fresh), atol=1e-6)
    zero = {"model.margins.weight": torch.zeros(10, DEPTH)}
    assert bool((CoAM()(work.with_weights(zero)) == 0).all())


def test_tokens_have_places():
    grid = Tokens((4, 4), torch.arange(1, 17), 17, (0,))

    def build():
        module = bottleneck(Transformer(), "blocks.0", 8)
        module.tokens = grid.index
        return module

    module = seeded(build).eval()
    work = at(Classifier(module).explicand(images(), 0), torch.tensor([1, 2, 3]))
    maps = concept_maps(work)
    assert maps.shape == (3, 1, 4, 4)
    expected = work.clean.logit - module.margins.bias[1:4]
    assert torch.allclose(8 * maps.mean((1, 2, 3)), expected, atol=1e-5)


def test_a_model_without_concepts_or_places_is_refused():
    with pytest.raises(UnsupportedError, match="the model has no concepts; choose a concept bottleneck"):
        CoAM()(colors().explicand(samples(1)[0].input[None], 0))
    pooled = seeded(lambda: bottleneck(colors().module, "3", 6))
    with pytest.raises(UnsupportedError, match=r"the concepts have no places: layer 'base.3' gives"):
        CoAM()(Classifier(pooled).explicand(images(), 0))
    assert scorer(Classifier(pooled)).logits(images()).shape == (3, 10)

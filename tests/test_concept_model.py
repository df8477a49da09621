"""Concept bottlenecks: what they compute, and the scorer of their concepts."""

import pytest
import torch
from torch import nn
from torch.func import functional_call

from xaieval.classifier import Classifier
from xaieval.concept_model import Bottleneck, at, bottleneck_of, scorer
from xaieval.laws.toys import Counting, Transformer, images, seeded
from xaieval.parts import Scheme
from xaieval.token_grid import ChannelsLast, Tokens
from xaieval.unsupported import UnsupportedError

SCHEME = Scheme(("beak", "wing"), ("beak: red", "beak: blue", "wing: long"), (0, 0, 1))


class Base(nn.Sequential):
    """Four channels at half the resolution, changed in place by what follows, and three classes."""

    def __init__(self):
        super().__init__(
            nn.Conv2d(3, 4, 3, 2, 1),
            nn.BatchNorm2d(4),
            nn.ReLU(inplace=True),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(4, 3),
        )


def made(residual=False, layer="2", base=None, width=4, layout=None):
    def build():
        margins = nn.Linear(width, 3)
        margins.weight.data /= margins.weight.data.norm(dim=1, keepdim=True)
        extra = nn.Linear(width, 5) if residual else None
        return Bottleneck(base or Base(), layer, margins, nn.Linear(3, 5), SCHEME, extra, layout)

    return seeded(build).eval()


@pytest.mark.parametrize("layer", ["1", "2", "4"])
def test_logits_are_linear_in_margins_and_these_in_the_mean_over_places(layer):
    module, inputs = made(residual=True, layer=layer), images()
    layers = [module.base[number] for number in range(int(layer) + 1)]
    features = nn.Sequential(*layers)(inputs)
    features = features if features.dim() == 2 else features.flatten(2).mean(2)
    margins = features @ module.margins.weight.T + module.margins.bias
    expected = margins @ module.head.weight.T + module.head.bias
    expected = expected + features @ module.residual.weight.T + module.residual.bias
    assert torch.allclose(module(inputs), expected, atol=1e-6)
    assert torch.allclose(scorer(Classifier(module)).logits(inputs), margins, atol=1e-6)


def test_what_follows_the_layer_and_changes_its_output_in_place_changes_nothing():
    module, inputs = made(layer="1"), images()
    before = module.base[1](module.base[0](inputs))
    expected = before.mean((2, 3))
    assert bool((expected != before.relu().mean((2, 3))).any())  # the rectifier does something
    assert torch.allclose(module.features(inputs), expected, atol=1e-6)
    assert torch.allclose(Classifier(module).explicand(inputs).logits, module(inputs), atol=1e-5)  # folded or not


def test_other_weights_and_gradients_pass_through_it():
    module, inputs = made(residual=True), images().requires_grad_()
    weights = {name: 2 * value for name, value in module.named_parameters()}
    doubled = made(residual=True)
    for parameter in doubled.parameters():
        parameter.data *= 2
    assert torch.allclose(functional_call(module, weights, (inputs,)), doubled(inputs), atol=1e-5)
    (gradient,) = torch.autograd.grad(module(inputs)[:, 0].sum(), inputs)
    assert bool((gradient != 0).any())
    assert not any(part._forward_hooks for part in module.modules())


def test_it_runs_without_values():
    work = Classifier(made(), device="meta").explicand(images().to("meta"), 1)
    assert at(work, torch.zeros(3, dtype=torch.long, device="meta")).logits.shape == (3, 3)


def test_means_of_tokens_and_of_channels_last_activations():
    inputs = images()
    base = seeded(Transformer).eval()
    grid = Tokens((4, 4), torch.arange(1, 17), 17, (0,))
    module = made(base=base, layer="blocks.0", width=8, layout=grid)
    seen = []
    handle = base.blocks[0].register_forward_hook(lambda *call: seen.append(call[2]))
    base(inputs)
    handle.remove()
    assert torch.allclose(module.features(inputs), seen[0][:, 1:].mean(1), atol=1e-6)
    turned = nn.Sequential(nn.Conv2d(3, 4, 1), Turned())
    module = made(base=turned, layer="1", layout=ChannelsLast())
    assert torch.allclose(module.features(inputs), turned[0](inputs).mean((2, 3)), atol=1e-6)


class Turned(nn.Module):
    def forward(self, inputs):
        return inputs.permute(0, 2, 3, 1)


def test_sizes_and_layers_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="the head takes 2 and the scheme names 3"):
        Bottleneck(Base(), "2", nn.Linear(4, 3), nn.Linear(2, 5), SCHEME)
    with pytest.raises(ValueError, match="must take 4 features to 5 classes, got 4 and 6"):
        Bottleneck(Base(), "2", nn.Linear(4, 3), nn.Linear(3, 5), SCHEME, nn.Linear(4, 6))
    with pytest.raises(ValueError, match="has no layer '9'"):
        made(layer="9")
    with pytest.raises(UnsupportedError, match="the model has no concepts"):
        scorer(Classifier(Base(), name="General"))


def test_the_scorer_is_made_once_and_again_when_weights_change():
    module = made()
    classifier = Classifier(module)
    first = scorer(classifier)
    assert scorer(classifier) is first
    assert scorer(first) is first
    assert first.categories == SCHEME.concepts
    before = first.logits(images())
    with torch.no_grad():
        module.margins.bias += 1
    classifier.explicand(images())
    assert torch.allclose(scorer(classifier).logits(images()), before + 1, atol=1e-5)


def test_the_scorer_of_other_weights_has_them():
    classifier = Classifier(made())
    work = classifier.explicand(images(), 0)
    zero = {"margins.weight": torch.zeros(3, 4), "margins.bias": torch.tensor([1.0, 2.0, 3.0])}
    other = work.with_weights(zero)
    assert torch.equal(scorer(other.classifier).logits(images()), torch.tensor([[1.0, 2.0, 3.0]]).expand(3, 3))
    assert not torch.equal(scorer(classifier).logits(images()), scorer(other.classifier).logits(images()))
    bound = scorer(other.classifier).explicand(images(), 0)  # binding copies no other weights
    assert torch.equal(bound.logits, torch.tensor([[1.0, 2.0, 3.0]]).expand(3, 3))


def test_evaluations_of_concepts_are_booked_to_the_parent_and_go_through_what_is_around_the_model():
    module = Counting(made())
    work = Classifier(module, batch_size=4).explicand(images(), 0)
    before, paid = module.forwards, work.cost.forwards
    concepts = torch.tensor([2, 0, 1])
    found = at(work, concepts)
    assert torch.allclose(found.clean.logit, made().margins(made().features(images()))[range(3), concepts], atol=1e-5)
    assert module.forwards - before == 3
    assert work.cost.forwards - paid == 1
    assert found.ids == work.ids
    assert bottleneck_of(found.classifier).layer == "model.module.base.2"
    assert bottleneck_of(work.classifier).layer == "module.base.2"


def test_gradients_of_a_concept_are_those_of_its_margin():
    module, inputs = made(), images()
    work = at(Classifier(module).explicand(inputs, 0), torch.tensor([1, 1, 1]))
    leaf = inputs.clone().requires_grad_()
    (expected,) = torch.autograd.grad(module.margins(module.features(leaf))[:, 1].sum(), leaf)
    assert torch.allclose(work.gradient, expected, atol=1e-6)

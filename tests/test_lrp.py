"""LRP against zennit in double precision, where it conserves, however functions are called, and what it refuses."""

from functools import partial

import pytest
import timm
import torch
import torch.nn.functional as functional
import torchvision
from known_answers import Model, bind, normal, random
from networks import MEAN, STD, TARGET, assert_close, explained, network
from timm.layers.squeeze_excite import SEModule
from torch import nn
from zennit.attribution import Gradient as Zennit
from zennit.canonizers import SequentialMergeBatchNorm
from zennit.composites import EpsilonAlpha2Beta1, EpsilonGammaBox, EpsilonPlusFlat
from zennit.torchvision import ResNetCanonizer

from xaieval.attributions.lrp import LRP
from xaieval.classifier import Classifier
from xaieval.laws.guards import untouched
from xaieval.laws.toys import seeded
from xaieval.layerwise_relevance import COMPOSITES, LayerwiseRelevance
from xaieval.unsupported import UnsupportedError


def zennit(composite, module, x, target, canonizer, low=0.0, high=1.0):
    """Their map for a relevance of 1 at the target."""
    kinds = {"epsilon_plus_flat": EpsilonPlusFlat, "alpha2_beta1": EpsilonAlpha2Beta1}
    low, high = ((torch.zeros_like(x) + limit).to(x) for limit in (low, high))
    canonizers = [canonizer()]
    made = (
        kinds[composite](canonizers=canonizers)
        if composite in kinds
        else EpsilonGammaBox(low, high, canonizers=canonizers)
    )
    with Zennit(module, made) as attributor:
        classes = module(x[:1]).shape[1]
        start = functional.one_hot(torch.as_tensor(target).expand(len(x)), classes).to(x)
        return attributor(x.clone().requires_grad_(), start)[1].detach()


def ours(composite, module, x, target):
    """Our map for a relevance of 1 at the target, in the precision of the module, and what is left of the 1."""
    leaf, balances = x.clone().requires_grad_(), list[torch.Tensor]()
    module.requires_grad_(False)
    with LayerwiseRelevance(composite, balances.append) as mode:
        logits = module(leaf)
    assert mode.unsupported == {}
    (relevance,) = torch.autograd.grad(logits[torch.arange(len(x)), torch.as_tensor(target)].sum(), leaf)
    return relevance, balances[0]


def sequential():
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, stride=2, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(inplace=True),
        nn.Conv2d(6, 8, 3, padding=2, dilation=2, groups=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Dropout(),
        nn.Linear(32, 16),
        nn.ReLU6(),
        nn.Linear(16, 5),
    )


def vgg11(normalized):
    """VGG-11 with a small head: its own has a hundred million weights."""
    features = torchvision.models.vgg.make_layers(torchvision.models.vgg.cfgs["A"], normalized)
    head = nn.Sequential(nn.Flatten(), nn.Linear(512, 32), nn.ReLU(True), nn.Dropout(), nn.Linear(32, 5))
    return nn.Sequential(*features, nn.AdaptiveAvgPool2d(1), *head)


def resnet18():
    return torchvision.models.resnet18(num_classes=5)


NETWORKS = {
    "sequential": (sequential, 16, SequentialMergeBatchNorm),
    "vgg11": (lambda: vgg11(False), 32, SequentialMergeBatchNorm),
    "vgg11_bn": (lambda: vgg11(True), 32, SequentialMergeBatchNorm),
    "resnet18": (resnet18, 40, ResNetCanonizer),
}


def used(module, seed=0):
    """The module with the batch normalizations of a trained one, some of whose scales are negative."""
    generator = torch.Generator().manual_seed(seed)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            assert part.running_mean is not None
            assert part.running_var is not None
            for values, (low, high) in (
                (part.running_mean, (-0.2, 0.2)),
                (part.running_var, (0.5, 1.5)),
                (part.weight.data, (-0.2, 1.5)),
                (part.bias.data, (-0.2, 0.2)),
            ):
                values.uniform_(low, high, generator=generator)
    return module.eval()


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("composite", COMPOSITES)
def test_agrees_with_zennit(composite, name):
    """In double precision, so that a difference is one of formulas.

    Where zennit merges a batch normalization its eps is left, as part of what should be an identity: here it is small.
    """
    make, side, canonizer = NETWORKS[name]
    module, x = used(seeded(make)).double(), random(2, 3, side, side).double()
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.eps = 1e-12
    theirs = zennit(composite, module, x, 3, canonizer)
    found = ours(composite, module, x, [3, 3])[0]
    torch.testing.assert_close(found, theirs, rtol=0, atol=1e-6 * float(theirs.abs().max()))


@pytest.mark.parametrize("composite", COMPOSITES)
def test_behind_the_classifier_it_is_that_of_the_normalized_input_times_the_logit(composite):
    """In single precision rounding of small denominators makes 1e-4 of it; the first call has no folds yet."""
    module, x = used(seeded(sequential)), random(3, 3, 16, 16)
    mean, scale = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    seen, low, high = ((values - mean) / scale for values in (x, torch.zeros(3, 1, 1), torch.ones(3, 1, 1)))
    theirs = zennit(composite, module, seen, TARGET, SequentialMergeBatchNorm, low, high)
    logits = module(seen)[torch.arange(3), list(TARGET)].detach().view(-1, 1, 1, 1)
    explicand = explained(module, x)
    for _ in range(2):
        assert_close(LRP(composite)(explicand), theirs * logits)
    module.get_submodule("1").register_forward_hook(lambda *_: None)  # then nothing is folded
    assert_close(LRP(composite)(explained(module, x)), theirs * logits)


def test_a_first_call_with_other_weights_finds_what_to_fold_and_gives_the_same_map():
    explicand = Classifier(used(seeded(resnet18))).explicand(random(2, 3, 40, 40), 1)
    expected, other = LRP()(explicand), explicand.with_weights({})
    assert other.classifier._call.folds is None
    assert_close(LRP()(other), expected, 1e-5)
    assert len(other.classifier._call.folds or ()) == 20


@pytest.mark.parametrize("composite", COMPOSITES)
def test_without_biases_everything_arrives(composite):
    """Pixels sum to the logit where every unit that counts has contributions of both signs."""
    explicand = explained(network(channels=(3, 24, 32), bias=False))
    total = LRP(composite)(explicand).flatten(1).sum(1)
    torch.testing.assert_close(total, explicand.clean.logit, rtol=1e-4, atol=0)
    assert explicand.cost[:2] == (2, 1)  # one of each, and a forward for the logits


@pytest.mark.parametrize("composite", COMPOSITES)
def test_what_pixels_lack_biases_have(composite):
    module = used(seeded(resnet18)).double()
    x = random(2, 3, 40, 40).double()
    relevance, balance = ours(composite, module, x, [1, 2])
    assert float((relevance.flatten(1).sum(1) - 1).abs().min()) > 0.05
    torch.testing.assert_close(balance, torch.ones(2).double(), rtol=0, atol=0.02)


class Residual(nn.Module):
    def __init__(self, add, rectify):
        super().__init__()
        self.stem, self.inner = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.norm, self.head = nn.BatchNorm2d(4), nn.Linear(4, 5)
        self.add, self.rectify = add, rectify

    def forward(self, x):
        x = self.rectify(self.stem(x))
        x = self.rectify(self.add(self.norm(self.inner(x)), x))
        return self.head(functional.adaptive_avg_pool2d(x, 1).flatten(1))


ADDITIONS = {
    "plus": lambda a, b: a + b,
    "in place": lambda a, b: a.__iadd__(b),
    "torch": torch.add,
    "keyword": lambda a, b: torch.add(other=b, input=a),
    "minus": lambda a, b: a - (-b),
}
REUSED = nn.ReLU()
RECTIFIERS = {
    "module": REUSED,
    "in place": nn.ReLU(inplace=True),
    "functional": functional.relu,
    "method": lambda x: x.relu(),
    "clamp": lambda x: x.clamp(min=0),
}


@pytest.mark.parametrize("composite", COMPOSITES)
@pytest.mark.parametrize("kind", [*ADDITIONS, *RECTIFIERS])
def test_however_a_function_is_called_the_map_is_the_same(kind, composite):
    add, rectify = ADDITIONS.get(kind, torch.add), RECTIFIERS.get(kind, functional.relu)
    found = LRP(composite)(explained(used(seeded(lambda: Residual(add, rectify)))))
    assert_close(found, LRP(composite)(explained(used(seeded(lambda: Residual(torch.add, functional.relu))))), 1e-6)


def test_a_rectifier_in_place_is_between_a_layer_and_its_batch_normalization():
    def made(inplace):
        rectifier = nn.ReLU(inplace=inplace)
        return nn.Sequential(nn.Conv2d(3, 4, 3), rectifier, nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(14 * 18 * 4, 5))

    found, expected = (LRP()(explained(used(seeded(partial(made, inplace))))) for inplace in (True, False))
    assert_close(found, expected, 1e-6)


def test_a_sum_shares_out_in_proportion_to_its_terms():
    """Two linear branches and a constant of a sum: `x w_k` each, whatever the others are."""
    first, second, third = normal(3, 4, 4), normal(3, 4, 4, seed=1), normal(1, seed=2)
    score = Model(lambda x: (x * first).flatten(1).sum(1) - (2 * second * x).flatten(1).mean(1) * 48 + third)
    x = random(2, 3, 4, 4)
    assert_close(LRP()(bind(score, x)), x * (first - 2 * second), 1e-3)


@pytest.mark.parametrize("composite", COMPOSITES)
def test_padding_and_channel_order_before_the_first_layer(composite):
    """What rearranges or normalizes the input inside the model leaves the first layer the first."""

    class Prepared(nn.Module):
        def __init__(self, module):
            super().__init__()
            self.module = module

        def forward(self, x):
            x = torch.cat([x[:, 2:] * 2 - 1, x[:, 1:2], x[:, :1] / 0.5], 1)
            return self.module(functional.pad(x, (1, 1, 1, 1)))

    inner = seeded(lambda: nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 64, 5)))
    plain = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), *inner[1:])
    plain.load_state_dict(inner.state_dict())
    x = random(2, 3, 8, 8)
    seen = torch.cat([x[:, 2:] * 2 - 1, x[:, 1:2], x[:, :1] * 2], 1)
    low, high = torch.tensor([-1.0, 0, 0]).view(3, 1, 1), torch.tensor([1.0, 1, 2]).view(3, 1, 1)
    theirs = zennit(composite, plain, seen, 1, SequentialMergeBatchNorm, low, high).flip(1)
    logits = plain(seen)[:, 1].detach().view(-1, 1, 1, 1)
    assert_close(LRP(composite)(Classifier(Prepared(inner)).explicand(x, 1)), theirs * logits)


def lite0(classes=5):
    return timm.create_model("tf_efficientnet_lite0", num_classes=classes).eval()


@pytest.mark.parametrize("composite", COMPOSITES)
def test_lite0_whose_blocks_end_without_rectifiers(composite):
    """With random weights it has no biases, so pixels have it all.

    As seen with zennit 0.5.1, which shares nothing out at skip connections that are no module: the sum is 512.
    """
    module, x = seeded(lite0), random(1, 3, 48, 48)
    assert float(zennit(composite, module, x, 1, SequentialMergeBatchNorm).sum()) > 100
    explicand = Classifier(module).explicand(x, 1)
    relevance = LRP(composite)(explicand)
    if composite == "alpha2_beta1":  # it makes more of it: refused
        assert bool(relevance.isnan().all())
        return
    torch.testing.assert_close(relevance.sum(), explicand.clean.logit[0], rtol=0.01, atol=0)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (
            lambda: timm.create_model("vit_tiny_patch16_224", num_classes=5, img_size=32, depth=1),
            r"blocks\.0\.norm1 \(LayerNorm\) calls layer_norm, for which LRP has no rule",
        ),
        (
            lambda: nn.Sequential(nn.Conv2d(3, 8, 3), SEModule(8), nn.Flatten(), nn.Linear(8 * 30 * 30, 5)),
            r"1 \(SEModule\) calls mul, for which LRP has no rule",
        ),
    ],
)
def test_what_has_no_rule_is_refused_with_its_layer(make, why):
    module, x = seeded(make), random(2, 3, 32, 32)
    explicand = Classifier(module).explicand(x, 1)
    with untouched(module), pytest.raises(UnsupportedError, match=why):
        LRP()(explicand)
    assert torch.equal(explicand.gradient, Classifier(module).explicand(x, 1).gradient)


def test_a_sample_whose_relevance_is_lost_gets_no_map():
    """Nothing contributes positively to a negative output, which no rectifier stops."""
    module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 1, 1), nn.Flatten(), nn.Linear(16, 2))
    for name, weight in module.named_parameters():
        nn.init.constant_(weight, 0 if "bias" in name else 1 if name == "0.weight" else -1)
    explicand = Classifier(module).explicand(torch.stack([random(3, 4, 4), torch.zeros(3, 4, 4)]), 0)
    finite = LRP()(explicand).flatten(1).isfinite().all(1)
    assert finite.tolist() == [False, True]  # a logit of 0 has nothing to share out
    assert bool(LRP("epsilon_gamma_box")(explicand).isfinite().all())


def test_a_model_without_layers_is_refused():
    with pytest.raises(UnsupportedError, match="has no layer that shares relevance out"):
        LRP()(Classifier(Model(lambda x: x[:, 0, 0, 0].relu())).explicand(random(2, 3, 4, 4), 0))


def test_a_wrong_option_is_told():
    with pytest.raises(ValueError, match=r"LRP: composite must be one of epsilon_plus_flat, .*, got 'epsilon'"):
        LRP("epsilon")

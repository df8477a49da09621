"""Anything callable is a method: other people's code agrees with itself outside, is counted, and leaves no trace."""

import functools
import pickle
import random as python_random
import warnings
from typing import ClassVar

import captum.attr
import numpy as np
import pytest
import torch
from known_answers import ids, random
from networks import TARGET, Normalized, assert_close, explained, network
from torch import nn
from torch.nn.functional import interpolate

from xaieval.adapters import CaptumMethod, FunctionMethod, as_method
from xaieval.attributions.grad_cam import GradCAM
from xaieval.attributions.gradient import Gradient
from xaieval.attributions.integrated_gradients import IntegratedGradients
from xaieval.attributions.occlusion import Occlusion
from xaieval.attributions.smoothgrad import SmoothGrad
from xaieval.component import component_json
from xaieval.keys import source_hash

INPUTS = random(3, 3, 16, 20)
partial = functools.partial


def gradient(model, inputs, target):
    """What a user would write."""
    inputs.requires_grad_()
    model(inputs).gather(1, target[:, None]).sum().backward()
    return inputs.grad


def drop(model, inputs, target):
    """Forwards alone, more of them in one call than a batch takes."""
    with torch.no_grad():
        many = torch.cat([inputs, inputs * 0, inputs / 2])
        logits = model(many).gather(1, target.repeat(3)[:, None]).view(3, -1)
    return (logits[0] - logits[1])[:, None, None, None].expand(-1, 1, 16, 20)


# -- Captum's classes


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (captum.attr.Saliency, {}),
        (captum.attr.Saliency, {"abs": False}),
        (captum.attr.InputXGradient, {}),
        (captum.attr.IntegratedGradients, {"n_steps": 12, "method": "riemann_middle"}),
        (captum.attr.DeepLift, {}),
        (captum.attr.GuidedBackprop, {}),
        (captum.attr.FeatureAblation, {"feature_mask": (torch.arange(320) // 40).view(1, 1, 16, 20)}),
        (captum.attr.Occlusion, {"sliding_window_shapes": (3, 5, 5), "strides": (3, 3, 3)}),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
@pytest.mark.parametrize("size", [2, 8])
def test_captum_class_gives_what_it_gives_outside(kind, options, size):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"captum\.")
        theirs = kind(Normalized(network()))
        expected = theirs.attribute(INPUTS.clone().requires_grad_(), target=torch.tensor(TARGET), **options)
    values = as_method(partial(kind, **options))(explained(network(), batch_size=size))
    assert_close(values, expected.detach(), 1e-5)


def test_captum_agrees_with_ours_through_the_adapter():
    explicand = explained(network())
    pairs = [
        (partial(captum.attr.Saliency, abs=False), Gradient()),
        (partial(captum.attr.IntegratedGradients, n_steps=20), IntegratedGradients(20)),
        (partial(captum.attr.LayerGradCam, layer="2", relu_attributions=True), GradCAM("2")),
    ]
    for theirs, ours in pairs:
        assert_close(as_method(theirs)(explicand), ours(explicand))
    windows = partial(captum.attr.Occlusion, sliding_window_shapes=(3, 6, 6), strides=(3, 4, 4))
    assert_close(as_method(windows)(explicand).mean(1, keepdim=True), Occlusion(6, 4)(explicand))


def test_layers_are_named_summed_over_channels_and_upsampled():
    module = network()
    theirs = captum.attr.LayerGradientXActivation(Normalized(module), module[2])
    coarse = theirs.attribute(INPUTS, torch.tensor(TARGET)).detach()
    expected = interpolate(coarse.sum(1, keepdim=True), size=(16, 20), mode="bilinear")
    method = as_method(partial(captum.attr.LayerGradientXActivation, layer="2"))
    assert_close(method(explained(module)), expected, 1e-5)


def test_a_layer_sees_all_inputs_in_one_call_also_without_gradients():
    """Captum's GradientShap runs five times the inputs without gradients and reads the layer from the last call."""
    values = as_method(partial(captum.attr.LayerGradientShap, layer="2"))(explained(network()))
    assert values.shape == (3, 1, 16, 20)


def test_units_of_captum_classes():
    units = {
        "gradient": [partial(captum.attr.Saliency, abs=False), captum.attr.GuidedBackprop],
        "contribution": [captum.attr.IntegratedGradients, captum.attr.InputXGradient, captum.attr.DeepLift],
        "importance": [captum.attr.Saliency, partial(captum.attr.LayerGradCam, layer="2")],
    }
    for expected, things in units.items():
        for thing in things:
            explicand = explained(network())
            assert explicand.units_of(as_method(thing)(explicand)) == expected
    local = partial(captum.attr.IntegratedGradients, multiply_by_inputs=False, n_steps=2)
    explicand = explained(network())
    assert explicand.units_of(as_method(local)(explicand)) == "gradient"
    assert as_method(captum.attr.Saliency, units="contribution").units == "contribution"


@pytest.mark.parametrize(
    ("thing", "forwards", "backwards"),
    [
        (captum.attr.Saliency, 1, 1),
        (partial(captum.attr.IntegratedGradients, n_steps=9), 9, 9),
        (partial(captum.attr.LayerGradCam, layer="2"), 1, 1),
        (partial(captum.attr.Occlusion, sliding_window_shapes=(3, 8, 10), strides=(3, 8, 10)), 5, 0),
        (gradient, 1, 1),
        (drop, 3, 0),
    ],
    ids=["saliency", "integrated gradients", "layer", "occlusion", "function", "forwards"],
)
@pytest.mark.parametrize("size", [2, 8])
def test_every_evaluation_is_counted(thing, forwards, backwards, size):
    explicand = explained(network(), batch_size=size)
    values = as_method(thing)(explicand)
    assert explicand.cost[:2] == (forwards, backwards)
    assert explicand.evaluations_of(values) == forwards


# -- functions


@pytest.mark.parametrize("size", [1, 2, 8])
def test_function_gets_normalized_logits_in_full_batches(size):
    assert_close(as_method(gradient)(explained(network(), batch_size=size)), Gradient()(explained(network())), 1e-5)
    values = as_method(drop)(explained(network(), batch_size=size))
    explicand = explained(network())
    change = explicand.clean.logit - explicand.removed("zero").logit
    assert_close(values, change[:, None, None, None].expand(-1, 1, 16, 20), 1e-5)


def test_function_may_write_into_its_inputs_and_hook_the_module():
    def greedy(model, inputs, target):
        seen = []
        handle = model.module[2].register_forward_hook(lambda layer, arguments, output: seen.append(output.shape))
        model(inputs)
        handle.remove()
        inputs.zero_()
        target.zero_()
        assert seen == [(len(inputs), 8, 4, 5)]
        return inputs.sum(1, keepdim=True)

    explicand = explained(network(), batch_size=1)
    before = explicand.inputs.clone(), explicand.target.clone()
    as_method(greedy)(explicand)
    assert torch.equal(explicand.inputs, before[0])
    assert torch.equal(explicand.target, before[1])


def test_a_layer_has_a_gradient_though_the_inputs_ask_for_none():
    def strength(model, inputs, target):
        kept = []
        handle = model.module[2].register_forward_hook(lambda layer, arguments, output: kept.append(output))
        score = model(inputs).gather(1, target[:, None]).sum()
        handle.remove()
        (slope,) = torch.autograd.grad(score, kept)
        return interpolate(
            (slope.mean((2, 3), keepdim=True) * kept[0]).sum(1, keepdim=True).relu(), (16, 20), mode="bilinear"
        )

    assert_close(as_method(strength)(explained(network())), GradCAM("2")(explained(network())), 1e-5)


def test_captum_takes_no_more_inputs_at_once_than_a_batch():
    class Watched(nn.Module):
        sizes: ClassVar[set[int]] = set()

        def __init__(self):
            super().__init__()
            self.inner = network()

        def forward(self, x):
            self.sizes.add(len(x))
            return self.inner(x)

    explicand = explained(Watched(), batch_size=2)
    as_method(partial(captum.attr.IntegratedGradients, n_steps=9))(explicand)
    assert max(Watched.sizes) == 2


def test_wrapped_and_named():
    method = as_method(gradient, name="mine", units="gradient")
    assert (str(method), method.units, str(as_method(gradient))) == ("mine", "gradient", "gradient")
    ours, theirs = (SmoothGrad(4, method=base)(explained(network(), ids=ids(3))) for base in (Gradient(), method))
    assert_close(theirs, ours, 1e-5)


def test_methods_pass_through():
    method = Gradient()
    assert as_method(method) is method
    assert as_method(Gradient) == method
    assert as_method(partial(SmoothGrad, samples=3)) == SmoothGrad(3)


# -- promises


def rude(model, inputs, target):
    """Leaves hooks, modes, gradients and random numbers behind, and fails."""
    for part in model.modules():
        part.register_forward_hook(lambda *_: None)
    model.train()
    model.module[0].eval()
    for parameter in model.parameters():
        parameter.requires_grad = False
        parameter.grad = torch.ones_like(parameter)
    torch.rand(3), np.random.rand(3), python_random.random()  # noqa: NPY002
    raise RuntimeError("rude")


def test_the_module_and_the_global_random_state_come_back_also_after_an_exception():
    module = network()
    module[1].eval()
    hook = module[3].register_forward_hook(lambda *_: None)
    module[0].weight.grad = torch.full_like(module[0].weight, 2.0)
    state = torch.random.get_rng_state(), str(np.random.get_state()), python_random.getstate()  # noqa: NPY002
    with pytest.raises(RuntimeError, match="rude"):
        as_method(rude)(explained(module))
    assert [part.training for part in module.modules()] == [True, True, False, True, True, True, True, True]
    assert [len(part._forward_hooks) for part in module] == [0, 0, 0, 1, 0, 0, 0]
    assert all(parameter.requires_grad for parameter in module.parameters())
    assert [parameter.grad is None for parameter in module.parameters()] == [False, *[True] * 5]
    assert float(module[0].weight.grad.mean()) == 2
    assert torch.equal(torch.random.get_rng_state(), state[0])
    assert str(np.random.get_state()) == state[1]  # noqa: NPY002
    assert python_random.getstate() == state[2]
    hook.remove()


def test_random_strangers_are_repeatable_and_fresh_in_copies():
    thing = partial(captum.attr.KernelShap, feature_mask=(torch.arange(320) // 40).view(1, 1, 16, 20), n_samples=9)
    explicand, method = explained(network(), ids=ids(3)), as_method(thing)
    values = method(explicand)
    assert torch.equal(values, method(explained(network(), ids=ids(3))))
    (batch,) = explicand.batches(1)
    assert not torch.equal(values, method(batch.copies(batch.inputs)))
    assert torch.equal(values, method(batch.copies(batch.inputs, common_draws=True)))


def test_named_code_has_a_key_and_a_lambda_has_none_on_disk():
    saliency = as_method(partial(captum.attr.Saliency, abs=False))
    assert isinstance(saliency, CaptumMethod)
    assert '"captum.attr._core.saliency.Saliency"' in component_json(saliency)
    assert component_json(saliency) != component_json(as_method(captum.attr.Saliency))
    assert source_hash(saliency) is not None
    assert '"test_adapters.gradient"' in component_json(as_method(gradient))
    assert source_hash(as_method(gradient)) is not None
    scaled = as_method(partial(lambda model, inputs, target, by: by * inputs, by=2))
    assert isinstance(scaled, FunctionMethod)
    assert '"by": 2' in component_json(scaled)
    assert source_hash(scaled) is None
    assert pickle.loads(pickle.dumps(saliency)) == saliency
    assert pickle.loads(pickle.dumps(as_method(gradient))) == as_method(gradient)


# -- errors


@pytest.mark.parametrize(
    ("thing", "sentence"),
    [
        (captum.attr.Saliency(nn.Identity()), "this Saliency is bound to a module .* hand over the class, Saliency"),
        (captum.attr.NoiseTunnel, "expected a class that begins with forward_func or model"),
        (partial(captum.attr.Saliency, nn.Identity()), "expected a class that begins with forward_func or model"),
        (lambda model, inputs: inputs, "cannot be called with a model, inputs and targets: too many positional"),
        (7, "a method is a Method, a class of captum.attr or a function .* got int"),
    ],
    ids=["instance", "wrapper", "model", "function", "number"],
)
def test_what_cannot_be_a_method_is_told(thing, sentence):
    with pytest.raises(TypeError, match=sentence):
        as_method(thing)


def test_wrong_options_are_told():
    with pytest.raises(ValueError, match="Saliency has no option 'absolute'; it has abs"):
        as_method(partial(captum.attr.Saliency, absolute=True))
    with pytest.raises(ValueError, match="LayerGradCam needs layer=, the dotted name of a layer"):
        as_method(captum.attr.LayerGradCam)
    with pytest.raises(ValueError, match="units must be one of gradient, contribution, importance, got 'pixels'"):
        as_method(gradient, units="pixels")
    with pytest.raises(ValueError, match="has no layer 'features'; close names"):
        as_method(partial(captum.attr.LayerGradCam, layer="features"))(explained(network()))


@pytest.mark.parametrize(
    ("result", "sentence"),
    [
        (lambda inputs: inputs[:, :, ::2, ::2], r"mine has shape \(3, 3, 8, 10\), expected a tensor \(3, 3, 16, 20\)"),
        (lambda inputs: inputs.tolist(), "mine is a list, expected a tensor"),
        (lambda inputs: inputs.long(), "mine has type torch.int64"),
        (lambda inputs: inputs.to("meta"), "mine is on meta"),
    ],
    ids=["shape", "list", "integers", "device"],
)
def test_wrong_results_are_told(result, sentence):
    with pytest.raises(ValueError, match=sentence):
        as_method(lambda model, inputs, target: result(inputs), name="mine")(explained(network()))

"""The engine's promises: full batches, nothing twice, the same answer always, the model as it was, counted."""

import copy
import gc
import itertools
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np
import pytest
import torch
from known_answers import Smooth, bind, ids, normal, random
from torch import nn
from torch.nn import functional

from xaieval.attributions.grad_cam import GradCAM
from xaieval.attributions.gradient import Gradient
from xaieval.attributions.integrated_gradients import IntegratedGradients
from xaieval.attributions.rise import RISE
from xaieval.attributions.smoothgrad import SmoothGrad
from xaieval.attributions.sobol import Sobol
from xaieval.batch_size import BatchSize
from xaieval.classifier import Classifier
from xaieval.component import Method
from xaieval.laws.guards import Planes, untouched
from xaieval.laws.toys import Counting, General, Rectified, seeded
from xaieval.metrics.deletion import Deletion
from xaieval.metrics.infidelity import Infidelity
from xaieval.metrics.insertion import Insertion
from xaieval.metrics.max_sensitivity import MaxSensitivity
from xaieval.perturbation import PatchMask
from xaieval.scores import Scores

CPU = torch.device("cpu")


def images(count=3, side=16):
    return random(count, 3, side, side)


def scale(values):
    return float(values.abs().max())


def assert_same(first, second, tolerance=1e-4):
    torch.testing.assert_close(first, second, rtol=0, atol=tolerance * scale(second))


# -- 1. full batches --


class Spy(nn.Module):
    """Notes the size of every call; fails above a limit as a full GPU does."""

    def __init__(self, module=None, limit=None):
        super().__init__()
        self.module, self.limit, self.sizes = module or Smooth(), limit, []

    def forward(self, x):
        if self.limit is not None and len(x) > self.limit:
            raise torch.OutOfMemoryError("as a test")
        self.sizes.append(len(x))
        return self.module(x)


@pytest.mark.parametrize(("count", "variants", "size"), [(3, 10, 4), (3, 10, 64), (5, 1, 2), (1, 7, 7), (2, 3, 1)])
def test_samples_and_variants_are_packed_into_full_batches(count, variants, size):
    spy = Spy()
    explicand = bind(spy, images(count), batch_size=size, target=0)
    spy.sizes.clear()
    Gradient()(explicand)
    SmoothGrad(samples=variants)(explicand)
    pairs = count * variants
    expected = [size] * (count // size) + [count % size] * (count % size > 0)
    expected += [size] * (pairs // size) + [pairs % size] * (pairs % size > 0)
    assert spy.sizes == expected


def test_forwards_of_a_sweep_are_exact():
    """Sobol 4 (16 + 1), RISE 30, Grad-CAM 1, infidelity 20 + clean 1, curves 2 x (6 - 1) for each map + removed 1."""
    spy = Spy(seeded(General))
    explicand = Classifier(spy, batch_size=8).explicand(images(3), 0)
    layer = explicand.layer("grad_cam")
    spy.sizes.clear()
    methods = (Sobol(grid=4, designs=4), RISE(samples=30), GradCAM(layer))
    maps = [method(explicand) for method in methods]
    for metric, attribution in itertools.product((Infidelity(20), Deletion(steps=6), Insertion(steps=6)), maps):
        metric(explicand, attribution)
    assert sum(spy.sizes) == 3 * (68 + 30 + 1 + 20 + 1 + 3 * 10 + 1)
    assert explicand.cost[:2] == (151, 1)
    assert max(spy.sizes) == 8


@pytest.mark.parametrize("limit", [1, 3])
@pytest.mark.parametrize("batch_size", [64, "auto"])
def test_out_of_memory_gives_the_same_scores_in_smaller_batches(limit, batch_size):
    expected, ours = (
        bind(spy, images(5), target=[0, 1, 2, 0, 1], batch_size=batch_size) for spy in (Spy(), Spy(limit=limit))
    )
    for method in (Gradient(), SmoothGrad(samples=9), RISE(samples=20), Sobol(grid=2, designs=4)):
        assert_same(method(ours), method(expected))
    for metric in (Infidelity(samples=9), Deletion(), MaxSensitivity(copies=3)):
        attribution = Gradient()(expected)
        assert_same(metric(ours, attribution, Gradient()), metric(expected, attribution, Gradient()))
    assert ours.cost == expected.cost
    sizes = ours.classifier.module.sizes
    assert max(sizes) <= limit
    assert all(ours.classifier.size(kind) <= limit for kind in ("scores", "gradients"))


def test_a_single_input_that_does_not_fit_is_an_error():
    with pytest.raises(torch.OutOfMemoryError):
        bind(Spy(limit=0), images(2), target=0)


def test_memory_that_runs_out_in_the_backward_pass_is_mended_as_well():
    class Hungry(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, gradient):
            if len(gradient) > 2:
                raise torch.OutOfMemoryError("as a test")
            return gradient

    class Model(nn.Module):
        def forward(self, x):
            return Smooth()(Hungry.apply(x))

    ours = bind(Model(), images(5), target=1, batch_size=5)
    assert_same(ours.gradient, bind(Smooth(), images(5), target=1).gradient)
    assert ours.classifier.size("gradients") == 2
    assert ours.classifier.size("scores") == 5


def test_auto_tries_8_16_and_32_on_the_work_itself():
    spies = {size: Spy() for size in ("auto", 8)}
    for size, spy in spies.items():
        explicand = bind(spy, images(2), target=0, batch_size=size)
        SmoothGrad(samples=200)(explicand)
        explicand.response(PatchMask(samples=200))
    assert sum(spies["auto"].sizes) == sum(spies[8].sizes) == 1 + 400 + 402
    assert set(spies["auto"].sizes[1:5]) == {8, 16}  # two of each before a third size
    assert max(spies["auto"].sizes) <= 32


def timed(times, candidates=(8, 16, 32)):
    """A batch size after trials that took so long per input."""
    size, now = BatchSize("auto", CPU), 0.0
    size._clock.mark = lambda: now  # type: ignore[method-assign]
    for _ in range(2 * len(candidates) + 2):
        with size.observing(size.current):
            now += times[size.current] * size.current
    return size


@pytest.mark.parametrize(
    ("times", "best"),
    [
        ({8: 1.0, 16: 0.9, 32: 0.8}, 32),
        ({8: 1.0, 16: 0.9, 32: 0.95}, 16),
        ({8: 1.0, 16: 1.1, 32: 0.9}, 32),  # not clearly worse, so 32 is tried
        ({8: 1.0, 16: 1.2, 32: 0.1}, 8),  # clearly worse: stop
    ],
)
def test_auto_keeps_the_fastest(times, best):
    assert timed(times).current == best


def test_auto_compares_times_of_equal_work():
    """Texts come sorted by length, so that larger sizes are tried on longer ones."""
    size, now = BatchSize("auto", CPU), 0.0
    size._clock.mark = lambda: now  # type: ignore[method-assign]
    for numbers in (10, 10, 15, 15, 22, 22):
        with size.observing(size.current, numbers):
            now += (1 - size.current / 100) * size.current * numbers
    assert size.current == 32
    assert not size._candidates


def test_a_given_size_and_partial_batches_are_no_trials():
    size = BatchSize("auto", CPU)
    for _ in range(10):
        with size.observing(5):
            pass
    assert size.current == 8
    assert not BatchSize(12, CPU)._candidates
    assert BatchSize("auto", CPU)._candidates[-1] == 32
    assert BatchSize("auto", CPU, small=True)._candidates[-1] == 64
    assert not BatchSize("auto", torch.device("meta"))._candidates


def test_trials_end_when_memory_runs_out():
    size = BatchSize("auto", CPU)
    size.shrink(8)
    assert size.current == 4
    assert not size._candidates


@pytest.mark.parametrize("size", [0, -1, 2.5, "large", None])
def test_other_batch_sizes_are_refused(size):
    with pytest.raises(ValueError, match="batch_size must be 'auto' or a positive integer, got"):
        BatchSize(size, CPU)


def live_planes(run, side=18):
    """The largest number of planes of input size alive at once."""
    explicand = bind(seeded(Rectified18), images(2, side), batch_size=2, target=0)
    with Planes((side, side)) as planes:
        run(explicand)
    return planes.largest


class Rectified18(Rectified):
    def __init__(self):
        super().__init__("module")


@pytest.mark.parametrize(
    "run",
    [
        lambda explicand, n: SmoothGrad(samples=n)(explicand),
        lambda explicand, n: SmoothGrad(samples=n, variant="variance")(explicand),
        lambda explicand, n: IntegratedGradients(steps=n)(explicand),
        lambda explicand, n: RISE(samples=n)(explicand),
        lambda explicand, n: explicand.response(PatchMask(samples=n, grid=3)),
        lambda explicand, n: explicand.curve(explicand.inputs, grid=18, steps=min(n, 324)),
        lambda explicand, n: MaxSensitivity(copies=n)(explicand, explicand.gradient, Gradient()),
        lambda explicand, n: SmoothGrad(samples=n // 5, method=SmoothGrad(samples=3))(explicand),
    ],
)
def test_live_inputs_do_not_grow_with_the_samples(run):
    few, many = (live_planes(lambda explicand, n=n: run(explicand, n)) for n in (10, 1000))
    assert few == many
    assert many <= 3 * 2 * (4 * 2 + 6 * 2)


def test_nothing_is_kept_of_an_explicand():
    """No cycle holds the tensors of an explicand and its copies until the garbage collector comes."""

    def tensors():
        return sum(issubclass(type(thing), torch.Tensor) and thing.shape[-2:] == (18, 18) for thing in gc.get_objects())

    def work():
        explicand = bind(Smooth(), images(2, 18), target=0)
        SmoothGrad(samples=20)(explicand)
        MaxSensitivity(copies=3)(explicand, SmoothGrad(samples=3)(explicand), SmoothGrad(samples=3))
        Deletion()(explicand, GradCAM("module.last")(bind(Spy(seeded(Rectified18)), images(2, 18), target=0)))

    work()
    gc.collect()
    gc.disable()
    try:
        before = tensors()
        work()
        assert tensors() == before
    finally:
        gc.enable()


# -- the model: its weights, its layout, its mode --


def gradient_of(module, inputs, target=0):
    leaf = inputs.clone().requires_grad_()
    return torch.autograd.grad(module.eval()(leaf)[:, target].sum(), leaf)[0]


def test_gradients_and_scores_are_those_of_the_module():
    module, inputs = seeded(General), images(4)
    explicand = Classifier(module, batch_size=3).explicand(inputs, 2)
    assert_same(explicand.gradient, gradient_of(copy.deepcopy(module), inputs, 2))
    with torch.no_grad():
        assert_same(explicand.clean.logit, copy.deepcopy(module).eval()(inputs)[:, 2])


@pytest.mark.parametrize("score", ["logit", "log_probability", "probability", "margin"])
def test_gradients_of_every_score(score):
    inputs = images(4)
    (batch,) = bind(Smooth(), inputs, target=1).batches(1)
    leaf = inputs.clone().requires_grad_()
    logits = Smooth()(leaf)
    values = {
        "logit": logits[:, 1],
        "log_probability": logits.log_softmax(1)[:, 1],
        "probability": logits.softmax(1)[:, 1],
        "margin": logits[:, 1] - logits[:, [0, 2]].amax(1),
    }[score]
    assert_same(batch.gradients(batch.inputs, score), torch.autograd.grad(values.sum(), leaf)[0])


def test_normalization_is_the_first_layer():
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)
    inputs = images(2)
    shift, width = (torch.tensor(values)[:, None, None] for values in (mean, std))
    explicand = Classifier(Smooth(), mean=mean, std=std).explicand(inputs, 0)
    with torch.no_grad():
        assert_same(explicand.clean.logit, Smooth()((inputs - shift) / width)[:, 0])
    assert_same(explicand.gradient, gradient_of(Smooth(), (inputs - shift) / width) / width)


def change(module, how):
    with torch.no_grad():
        if how == "in place":
            module.first.add_(0.1)
        elif how == "data":
            module.first.data.add_(0.1)
        elif how == "replaced data":
            module.first.data = module.first.data + 0.1
        elif how == "replaced":
            module.first = nn.Parameter(module.first + 0.1)
        elif how == "replaced twice":
            for _ in range(5):
                module.first = nn.Parameter(module.first + 0.02)
        elif how == "loaded":
            module.load_state_dict({**module.state_dict(), "first": module.first + 0.1})
        elif how == "optimizer":
            module.first.grad = torch.full_like(module.first, -1.0)
            torch.optim.SGD([module.first], lr=0.1).step()


@pytest.mark.parametrize(
    "how", ["in place", "data", "replaced data", "replaced", "replaced twice", "loaded", "optimizer"]
)
def test_changed_weights_are_copied_again(how):
    module, inputs = Smooth(), images(2)
    classifier = Classifier(module)
    before = classifier.explicand(inputs, 0).clean.logit
    copies = dict(classifier.weights)
    classifier.explicand(inputs, 0)
    assert all(classifier.weights[name] is copies[name] for name in copies)
    change(module, how)
    after = classifier.explicand(inputs, 0).clean.logit
    assert not torch.allclose(before, after)
    with torch.no_grad():
        assert_same(after, module(inputs)[:, 0])


def test_an_explicand_of_earlier_weights_says_so():
    module = Smooth()
    classifier = Classifier(module)
    old = classifier.explicand(images(), 0)
    attribution = Gradient()(old)
    change(module, "in place")
    SmoothGrad(samples=2)(old)  # the copies of the weights are still those of the explicand
    classifier.explicand(images(), 0)
    assert torch.equal(old.gradient, attribution)
    for ask in (lambda: old.clean, lambda: Deletion()(old, attribution), lambda: SmoothGrad(samples=3)(old)):
        with pytest.raises(ValueError, match="the weights of Smooth have changed since these inputs were bound"):
            ask()


def test_weights_are_copied_to_channels_last_and_the_module_keeps_its_own():
    module = seeded(General)
    with untouched(module):
        classifier = Classifier(module)
        classifier.explicand(images(), 0).gradient  # noqa: B018
    copied, own = classifier.weights["4.weight"], module.get_parameter("4.weight")
    assert copied.is_contiguous(memory_format=torch.channels_last)
    assert not copied.requires_grad
    assert own.is_contiguous()
    assert own.data_ptr() != copied.data_ptr()


class Viewing(nn.Module):
    """Counts on the usual layout of memory, as many tutorials do."""

    def __init__(self):
        super().__init__()
        self.convolution, self.head = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(4 * 256, 3)
        self.position = nn.Parameter(torch.rand(1, 4, 16, 16))

    def forward(self, x):
        hidden = self.convolution(x).relu()
        return self.head(hidden.view(len(x), -1) + self.position.view(1, -1))


def test_a_model_that_views_its_activations_works():
    module, inputs = seeded(Viewing), images(5)
    explicand = Classifier(module, batch_size=2).explicand(inputs, 1)
    assert_same(explicand.gradient, gradient_of(module, inputs, 1))
    assert_same(SmoothGrad(samples=3, noise=0.0)(explicand), explicand.gradient)


class WritingFirst(nn.Module):
    def forward(self, x):
        x.mul_(2).sub_(1)
        return torch.stack((x.flatten(1).sum(1), (x**2).flatten(1).sum(1)), 1)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_model_that_writes_into_its_input_changes_nobodys_images(channels):
    """With one channel the usual layout and channels-last are one, and no copy would be made."""
    inputs = random(3, channels, 8, 8)
    kept = inputs.clone()
    explicand = bind(WritingFirst(), inputs, target=1)
    torch.testing.assert_close(explicand.gradient, 4 * (2 * kept - 1))
    assert torch.equal(explicand.inputs, kept)
    assert torch.equal(inputs, kept)


class CountingBuffer(nn.Module):
    """Mutates or replaces a buffer in every call, on which its output depends."""

    def __init__(self, how):
        super().__init__()
        self.how = how
        self.calls: torch.Tensor
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        if self.how == "in place":
            self.calls.add_(1)
        else:
            self.calls = self.calls + 1
        return Smooth()(x) * self.calls


@pytest.mark.parametrize("how", ["in place", "replaced"])
def test_every_call_starts_with_the_modules_own_buffers(how):
    module, inputs = CountingBuffer(how), images(5)
    explicand = bind(module, inputs, batch_size=2)
    with torch.no_grad():
        assert_same(explicand.clean.logit, Smooth()(inputs)[:, 0])
    assert_same(explicand.gradient, gradient_of(Smooth(), inputs))
    assert module.calls == 0


def test_tied_weights_stay_tied():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1)
            self.second.weight = self.first.weight

        def forward(self, x):
            return self.second(self.first(x).tanh()).mean((2, 3))

    module, inputs = seeded(Tied), images()
    classifier = Classifier(module)
    assert_same(classifier.explicand(inputs, 0).gradient, gradient_of(module, inputs))
    with torch.no_grad():
        module.first.weight.mul_(2)
    assert_same(classifier.explicand(inputs, 0).gradient, gradient_of(module, inputs))


@pytest.mark.parametrize("size", [1, 2])
def test_gradients_through_tokens_are_right_at_every_batch_size(size):
    """Gradients of tokens come back with odd strides, which batch norm misreads in the usual layout at batch size 1."""

    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.head = nn.Sequential(nn.Conv2d(3, 8, 4, stride=4), nn.BatchNorm2d(8)), nn.Linear(8, 3)

        def forward(self, x):
            return self.head(self.stem(x).flatten(2).transpose(1, 2)).tanh().mean(1)

    module, inputs = seeded(Tokens), images(2)
    explicand = Classifier(module, batch_size=size).explicand(inputs, 0)
    assert_same(explicand.gradient, gradient_of(copy.deepcopy(module), inputs))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_weights_of_other_types_are_used_in_float32(dtype):
    module, inputs = Smooth().to(dtype), images()
    explicand = bind(module, inputs.to(dtype))
    expected = copy.deepcopy(module).float()
    assert_same(explicand.gradient, gradient_of(expected, inputs.to(dtype).float()))
    assert explicand.gradient.dtype == explicand.clean.logit.dtype == torch.float32
    assert module.first.dtype == dtype


def test_normalized_and_parametrized_weights_are_followed():
    module = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3)), nn.Flatten(), nn.Linear(784, 3))
    inputs = images()
    classifier = Classifier(module)
    assert_same(classifier.explicand(inputs, 0).gradient, gradient_of(module, inputs))
    with torch.no_grad():
        module.get_parameter("0.parametrizations.weight.original0").mul_(3)
    assert_same(classifier.explicand(inputs, 0).gradient, gradient_of(module, inputs))


def test_evaluation_mode_inside_and_each_part_as_it_was_outside():
    modes = []

    class Noting(nn.Module):
        def __init__(self):
            super().__init__()
            self.dropout, self.norm = nn.Dropout(), nn.BatchNorm2d(3)

        def forward(self, x):
            modes.append([part.training for part in self.modules()])
            return Smooth()(self.dropout(self.norm(x)))

    module = Noting()
    module.norm.eval()
    explicand = bind(module, images(), batch_size=2)
    RISE(samples=5)(explicand), explicand.gradient, explicand.activations(("norm",))
    assert all(mode == [False, False, False] for mode in modes)
    assert [part.training for part in module.modules()] == [True, True, False]


def test_the_users_hooks_fire_and_stay():
    module, seen = seeded(Rectified18), []
    handle = module.last.register_forward_hook(lambda *_: seen.append(1))
    explicand = Classifier(module, batch_size=2).explicand(images(4), 0)
    seen.clear()
    explicand.gradient, explicand.activations(("last",))
    assert len(seen) == 4
    handle.remove()
    assert not module.last._forward_hooks


def test_a_hook_of_the_users_may_change_the_output():
    module, inputs = seeded(Rectified18), images(2)
    plain = Classifier(module).explicand(inputs, 0).clean.logit
    with module.register_forward_hook(lambda module, arguments, output: 2 * output):
        assert_same(Classifier(module).explicand(inputs, 0).clean.logit, 2 * plain)


def test_precisions():
    module, inputs = seeded(General), images(4)
    plain, scores, everything = (
        Classifier(module, precision=precision).explicand(inputs, 1)
        for precision in ("float32", "bfloat16", "bfloat16_all")
    )
    for explicand in (plain, scores, everything):
        explicand.classifier.differentiable(inputs)  # batch normalizations are folded from the second call on
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        expected = copy.deepcopy(module).eval()(inputs)[:, 1].float()
    assert not torch.equal(scores.clean.logit, plain.clean.logit)
    torch.testing.assert_close(scores.clean.logit, expected, rtol=0.02, atol=0.02)
    assert torch.equal(scores.gradient, plain.gradient)
    predicted = Classifier(module, precision="bfloat16").explicand(inputs[:, :, :8, :8])
    asked = Classifier(module, precision="bfloat16").explicand(inputs[:, :, :8, :8], predicted.target)
    assert torch.equal(predicted.clean.values, asked.clean.values)
    assert not torch.equal(everything.gradient, plain.gradient)
    assert_same(everything.gradient, plain.gradient, 0.2)
    assert {e.gradient.dtype for e in (plain, scores, everything)} == {torch.float32}
    assert {e.clean.logit.dtype for e in (plain, scores, everything)} == {torch.float32}


# -- 2. nothing twice --


def test_ten_methods_share_one_set_of_responses():
    spy = Counting(Smooth())
    explicand = bind(spy, images(2), target=0)
    maps = [normal(2, 3, 16, 16, seed=seed) for seed in range(10)]
    before = spy.forwards
    scores = [Infidelity(samples=20)(explicand, attribution) for attribution in maps]
    assert spy.forwards - before == 2 * (20 + 1)
    for attribution, score in zip(maps, scores, strict=True):
        fresh = bind(Smooth(), images(2), target=0, batch_size=64)
        torch.testing.assert_close(score, Infidelity(samples=20)(fresh, attribution), rtol=1e-4, atol=1e-5)


def test_scores_of_an_earlier_run_are_used_in_place_of_forwards():
    first, spy = bind(Smooth(), images(2)), Counting(Smooth())
    attribution = normal(2, 3, 16, 16)
    metrics = (Infidelity(samples=9), Deletion(steps=5))
    expected = [metric(first, attribution) for metric in metrics]
    second = bind(spy, images(2))
    for key, (values, cost) in first.shared_scores().items():
        second.preload(key, Scores(values), cost)
    before = spy.forwards
    with second.meter.ledger() as ledger:
        again = metrics[0](second, attribution)
    assert spy.forwards == before
    assert torch.equal(again, expected[0])
    assert ledger.paid[:2] == (0, 0)
    assert ledger.standalone.forwards == 2 * 10
    assert torch.equal(metrics[1](second, attribution), expected[1])
    assert spy.forwards - before == 2 * 4  # the inner points of the curve; its ends were known


def test_activations_of_several_layers_cost_one_pass():
    explicand = Classifier(seeded(Rectified18)).explicand(images(2), 0)
    spent = explicand.cost
    explicand.activations(("first", "last")), explicand.activations(("last", "first"))
    assert (explicand.cost.forwards - spent.forwards, explicand.cost.backwards) == (1, 1)


# -- 4. the same answer always --


def test_identical_images_have_one_name_and_other_ones_another():
    inputs = images(3)
    inputs[2] = inputs[0]
    names = bind(Smooth(), inputs).ids
    assert names[0] == names[2] != names[1]
    assert bind(Smooth(), inputs.double()).ids == names
    assert bind(Smooth(), inputs.contiguous(memory_format=torch.channels_last)).ids == names


def draws(explicand, count=4, purpose="mine", seed=0):
    return torch.cat([batch.normal(purpose, seed) for batch in explicand.batches(count)])


def test_draws_depend_on_seed_sample_purpose_and_variant_alone():
    values = draws(bind(Smooth(), images(), batch_size=5, ids=ids(3))).view(3, 4, -1)
    assert len(set(values[..., 0].flatten().tolist())) == 12
    alone = draws(bind(Smooth(), images()[1:2], batch_size=2, ids=["image 1"])).view(4, -1)
    assert torch.equal(alone, values[1])
    more = draws(bind(Smooth(), images(), batch_size=7, ids=ids(3)), count=6).view(3, 6, -1)
    assert torch.equal(more[:, :4], values)
    for other in ({"purpose": "yours"}, {"seed": 1}):
        assert not torch.equal(draws(bind(Smooth(), images(), ids=ids(3)), **other).view(3, 4, -1), values)


def test_absent_features_get_no_noise():
    present = random(3, 16, 16) > 0.5
    noise = draws(bind(Smooth(), images(), present=present, ids=ids(3))).view(3, 4, 3, 16, 16)
    whole = draws(bind(Smooth(), images(), ids=ids(3))).view(3, 4, 3, 16, 16)
    assert torch.equal(noise, whole * present[:, None, None])


def test_copies_have_fresh_draws_and_common_ones_those_of_the_original():
    explicand = bind(Smooth(), images(2), batch_size=16, ids=ids(2))
    original = draws(explicand).view(2, 4, -1)
    (batch,) = explicand.batches(3)
    fresh = draws(batch.copies(batch.inputs)).view(2, 3, 4, -1)
    common = draws(batch.copies(batch.inputs, common_draws=True)).view(2, 3, 4, -1)
    assert torch.equal(common, original[:, None].expand_as(common))
    assert len(set(fresh[..., 0].flatten().tolist()) | set(original[..., 0].flatten().tolist())) == 24 + 8


def test_copies_of_copies_are_fresh_again():
    explicand = bind(Smooth(), images(1), batch_size=16, ids=["cat"])
    (outer,) = explicand.batches(2)
    copies = outer.copies(outer.inputs)
    (inner,) = copies.batches(3)
    twice = inner.copies(inner.inputs)
    assert twice.copy == (".0.0", ".0.1", ".0.2", ".1.0", ".1.1", ".1.2")
    assert twice.ids == ("cat",) * 6
    assert len(set(draws(twice, 1).flatten(1)[:, 0].tolist())) == 6
    held = inner.copies(inner.inputs, common_draws=True)
    assert held.copy == (".0",) * 3 + (".1",) * 3


def test_copies_do_not_depend_on_the_batches_they_were_made_in():
    found = []
    for size in (2, 5, 64):
        explicand = bind(Smooth(), images(2), batch_size=size, ids=ids(2))
        copies = [batch.copies(batch.inputs) for batch in explicand.batches(4)]
        found.append(torch.cat([draws(one, 2) for one in copies]))
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_designs_are_shared_by_samples_and_fresh_in_copies():
    explicand = bind(Smooth(), images(2), batch_size=16, ids=ids(2))

    def design(owner):
        return owner.design("mine", 0, lambda seed: torch.rand(4, 2, generator=torch.Generator().manual_seed(seed)))

    assert design(explicand).shape == (1, 4, 2)
    (batch,) = explicand.batches(3)
    fresh, common = design(batch.copies(batch.inputs)), design(batch.copies(batch.inputs, common_draws=True))
    assert torch.equal(common, design(explicand))
    assert fresh.shape == (3, 4, 2)  # both samples have the copies 0, 1 and 2
    assert len(set(torch.cat((fresh, common))[:, 0, 0].tolist())) == 4


@pytest.mark.parametrize("size", [1, 2, 5, 64])
def test_pairs_pick_their_rows_of_a_design(size):
    explicand = bind(Smooth(), images(2), batch_size=16, ids=ids(2))
    (outer,) = explicand.batches(3)
    copies = outer.copies(outer.inputs)
    copies.classifier.batch_size["gradients"].current = size
    design = normal(3, 4, 2)  # copies x variants
    picked = torch.cat([batch.pick(design) for batch in copies.batches(4)]).view(2, 3, 4, 2)
    assert torch.equal(picked, design.expand(2, -1, -1, -1))
    turned = torch.cat([batch.pick(design, 3 - batch.variants) for batch in copies.batches(4)]).view(2, 3, 4, 2)
    assert torch.equal(turned, design.flip(1).expand(2, -1, -1, -1))


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 64])
def test_batches_add_write_read_and_merge(size):
    explicand = bind(Smooth(), images(3), batch_size=size)
    values = normal(3, 4, 2)
    total, table, mean, squares = torch.zeros(3, 2), torch.empty(3, 4, 2), torch.zeros(3, 2), torch.zeros(3, 2)
    for batch in explicand.batches(4):
        mine = batch.read(values)
        assert torch.equal(mine, values[batch.samples, batch.variants])
        assert torch.equal(batch.of_rows(explicand.inputs), explicand.inputs[batch.samples])
        assert torch.equal(batch.inputs, explicand.inputs[batch.samples])
        assert torch.equal(batch.at(torch.arange(4.0)), batch.variants.float().view(-1, 1, 1, 1))
        assert batch.of(torch.arange(3)).shape == (len(batch), 1, 1, 1)
        batch.add(total, mine)
        batch.write(table, mine)
        batch.merge(mean, squares, mine)
    torch.testing.assert_close(total, values.sum(1))
    assert torch.equal(table, values)
    torch.testing.assert_close(mean, values.mean(1))
    torch.testing.assert_close(squares / 4, values.var(1, correction=0))


def test_a_table_that_cannot_be_written_in_place_is_refused():
    (batch,) = bind(Smooth(), images(3)).batches(2)
    with pytest.raises(RuntimeError, match="view size is not compatible"):
        batch.write(torch.empty(2, 3, 5).transpose(0, 1), torch.ones(6, 5))


def test_a_models_nan_stays_with_its_sample():
    class Log(nn.Module):
        def forward(self, x):
            return Smooth()((x[:, :, :8] - 0.2).log())

    inputs = 0.3 + 0.5 * images(3)
    expected = bind(Log(), inputs).gradient
    inputs[1, 0, 0, 0] = 0.1
    gradient = bind(Log(), inputs, batch_size=3).gradient
    assert gradient[1].isnan().any()
    assert_same(gradient[[0, 2]], expected[[0, 2]])


# -- 5. the model as it was --


@pytest.mark.parametrize("batch_size", [1, 64])
def test_everything_of_the_model_is_kept_through_a_sweep(batch_size):
    module = seeded(General)
    module.get_parameter("0.weight").grad = torch.ones(6, 3, 3, 3)
    module.get_parameter("4.weight").requires_grad_(False)
    inputs = images().requires_grad_()
    with untouched(module):
        explicand = Classifier(module, batch_size=batch_size).explicand(inputs, 0)
        for method in (Gradient(), SmoothGrad(samples=3), GradCAM(), RISE(samples=5), Sobol(grid=2, designs=2)):
            Deletion()(explicand, method(explicand))
    assert inputs.grad is None
    assert not explicand.gradient.requires_grad


@pytest.mark.parametrize("work", ["gradient", "scores", "activations"])
def test_an_exception_leaves_the_model_as_it_was(work):
    module = seeded(General)
    explicand = Classifier(module, batch_size=1).explicand(images(), 0)

    def fails(*_):
        raise RuntimeError("as a test")

    asked = {
        "gradient": lambda: explicand.gradient,
        "scores": lambda: explicand.clean,
        "activations": lambda: explicand.activations(("0", "4")),
    }[work]
    with untouched(module), module[6].register_forward_hook(fails), pytest.raises(RuntimeError, match="as a test"):
        asked()
    assert_same(explicand.gradient, gradient_of(copy.deepcopy(module), images()))


# -- under the modes of torch --


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_explaining_inside_a_mode_gives_the_same(mode):
    module, inputs = seeded(General), images()
    expected = Classifier(module).explicand(inputs, 0)
    methods = (Gradient(), SmoothGrad(samples=4), GradCAM(), RISE(samples=9), IntegratedGradients(steps=4))
    maps = [method(expected) for method in methods]
    with mode():
        explicand = Classifier(module).explicand(inputs * 1, 0)
        for method, attribution in zip(methods, maps, strict=True):
            ours = method(explicand)
            assert_same(ours, attribution)
            assert_same(Deletion()(explicand, ours), Deletion()(expected, attribution))
        assert_same(explicand.gradient, expected.gradient)
        late = expected.activations(("0",))["0"]
    assert not late[0].is_inference()
    assert_same(explicand.inputs.grad_fn or explicand.gradient, expected.gradient)
    assert not explicand.gradient.is_inference()
    assert_same(SmoothGrad(samples=4)(explicand), maps[1])  # and outside again


def test_a_model_and_images_made_in_inference_mode():
    with torch.inference_mode():
        module, inputs = seeded(General), images() * 1
    explicand = Classifier(module).explicand(inputs, 0)
    assert_same(explicand.gradient, Classifier(seeded(General)).explicand(images(), 0).gradient)


def test_a_batch_used_by_hand_in_inference_mode():
    explicand = bind(Smooth(), images())
    with torch.inference_mode():
        (batch,) = explicand.batches(1)
        gradient = batch.gradients(batch.inputs * 1.0)
    assert_same(gradient, gradient_of(Smooth(), images()))


# -- odd models --


def test_a_constant_model_has_the_gradient_zero():
    class Constant(nn.Module):
        def forward(self, x):
            return torch.ones(len(x), 3)

    explicand = bind(Constant(), images())
    assert not explicand.gradient.any()
    values, reasons = Deletion().evaluate(explicand, explicand.gradient)
    assert values.isnan().all()
    assert reasons["zero attribution"].all()


def test_a_model_with_one_class():
    class One(nn.Module):
        def forward(self, x):
            return x.flatten(1).sum(1, keepdim=True)

    explicand = bind(One(), images(), target=None)
    assert explicand.target.tolist() == [0, 0, 0]
    assert explicand.clean.probability.tolist() == [1, 1, 1]
    assert torch.equal(explicand.gradient, torch.ones(3, 3, 16, 16))
    assert Infidelity(samples=5)(explicand, explicand.gradient).abs().max() < 1e-6


def test_a_model_that_gives_float64():
    class Double(nn.Module):
        def forward(self, x):
            return Smooth().double()(x.double())

    explicand = bind(Double(), images())
    assert explicand.gradient.dtype == explicand.clean.logit.dtype == torch.float32
    assert_same(explicand.gradient, gradient_of(Smooth(), images()))


def test_the_predicted_class_is_explained_without_a_target():
    explicand = bind(Smooth(), images(5), target=None)
    with torch.no_grad():
        assert torch.equal(explicand.target, Smooth()(images(5)).argmax(1))
        assert_same(explicand.clean.logit, Smooth()(images(5)).amax(1))
    assert explicand.cost[:2] == (1, 0)


def test_images_are_copied_when_they_are_bound():
    inputs = images()
    explicand = bind(Smooth(), inputs)
    expected = inputs.clone()
    inputs.zero_()
    assert torch.equal(explicand.inputs, expected)


def test_the_range_is_that_of_what_is_present():
    inputs, present = images(2), torch.ones(2, 16, 16, dtype=torch.bool)
    inputs[0, 0, 0, 0], inputs[1, 2, 3, 4], present[0, 0, 0] = 9.0, -5.0, False
    values = bind(Smooth(), inputs, present=present).range
    assert values[0] == inputs[0].flatten(1)[:, 1:].max() - inputs[0].flatten(1)[:, 1:].min()
    assert values[1] == inputs[1].max() + 5


# -- bad input: what came, what was expected, what to do --


def of(**options):
    return bind(Smooth(), images(), **options)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: bind(Smooth(), images().numpy()), "inputs must be a tensor .* got a ndarray"),
        (lambda: bind(Smooth(), images()[0, 0]), r"inputs must be a tensor \(N, C, \*F\), .* got a tensor \(16, 16\)"),
        (lambda: bind(Smooth(), images()[:0]), "inputs must hold at least one sample, got none"),
        (lambda: bind(Smooth(), images() / 0), "inputs must be finite, got NaN or infinite values: mend the data"),
        (lambda: bind(Smooth(), images() * torch.nan), "inputs must be finite, got NaN"),
        (lambda: bind(Smooth(), (255 * images()).byte()), "inputs must be floating point, .* got torch.uint8: divide"),
        (lambda: of(target=3), "target must lie in 0 to 2, the classes of Smooth, got"),
        (lambda: of(target=-1), "target must lie in 0 to 2"),
        (lambda: of(target=[0, 1]), r"target must be one class for each of the 3 samples, got shape \(2,\)"),
        (lambda: of(target=[[0], [1], [2]]), r"target must be one class .* got shape \(3, 1\)"),
        (lambda: of(ids=["a", "b"]), "ids must name each of the 3 samples, got 2"),
        (lambda: of(mask=torch.ones(3, 8, 8)), r"mask must be \(3, 16, 16\) .* got \(3, 8, 8\): resize it"),
        (lambda: of(mask=np.ones((3, 16, 16))), r"mask must be a tensor \(3, 16, 16\), got a ndarray"),
        (lambda: of(present=torch.ones(16, 16)), r"present must be \(3, 16, 16\)"),
        (lambda: of(present=torch.zeros(3, 16, 16)), "present must leave at least one feature of each sample"),
    ],
)
def test_bad_inputs(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()


@pytest.mark.parametrize("mask", [torch.ones(3, 16, 16), torch.ones(3, 1, 16, 16).bool(), torch.ones(3, 16, 16).int()])
def test_masks_of_any_type_and_with_a_channel(mask):
    assert of(mask=mask).mask.dtype == torch.bool
    assert of(mask=mask).mask.shape == (3, 16, 16)


class Returns(nn.Module):
    def __init__(self, what):
        super().__init__()
        self.what = what

    def forward(self, x):
        return self.what(Smooth()(x))


@pytest.mark.parametrize(
    ("what", "sentence"),
    [
        (
            lambda logits: (logits, logits),
            r"Returns returned a tuple, expected logits as a tensor \(3, classes\): wrap",
        ),
        (lambda logits: {"logits": logits}, "Returns returned a dict"),
        (lambda logits: logits[:, 0], r"Returns returned a tensor \(3,\) for 3 inputs, expected logits \(3, classes\)"),
        (lambda logits: logits[:1], r"Returns returned a tensor \(1, 3\) for 3 inputs"),
        (lambda logits: logits[..., None], r"Returns returned a tensor \(3, 3, 1\) for 3 inputs"),
    ],
)
def test_models_that_return_something_else(what, sentence):
    with pytest.raises(TypeError, match=sentence):
        bind(Returns(what), images(), target=None)


@pytest.mark.parametrize(
    ("options", "error", "sentence"),
    [
        ({"module": Smooth}, TypeError, "Classifier expects an nn.Module that gives logits .* got type"),
        ({"module": lambda x: x}, TypeError, "got function"),
        ({"module": nn.DataParallel(Smooth())}, TypeError, "cannot hand other weights to a DataParallel: give it the"),
        ({"precision": "half"}, ValueError, "precision must be one of float32, bfloat16, bfloat16_all, got 'half'"),
        ({"mean": (0, 0, 0)}, ValueError, "mean and std normalize together: give both or neither"),
    ],
)
def test_classifiers_that_cannot_be(options, error, sentence):
    with pytest.raises(error, match=sentence):
        Classifier(**{"module": Smooth(), **options})


def test_another_number_of_channels_than_the_normalization_has():
    classifier = Classifier(Smooth(), mean=(0, 0, 0), std=(1, 1, 1))
    with pytest.raises(ValueError, match=r"Smooth normalizes 3 channels, got inputs \(2, 1, 8, 8\)"):
        classifier.explicand(random(2, 1, 8, 8))


# -- attributions and metrics --


@pytest.mark.parametrize(
    ("attribution", "sentence"),
    [
        (
            torch.ones(3, 2, 16, 16),
            r"the attribution has shape \(3, 2, 16, 16\), expected a tensor \(3, 3, 16, 16\) or",
        ),
        (torch.ones(3, 16, 16), r"has shape \(3, 16, 16\).*upsample coarse maps with explicand.upsample"),
        (torch.ones(3, 1, 16, 16, device="meta"), "is on meta, .* create tensors on explicand.device"),
        (torch.ones(3, 1, 16, 16, dtype=torch.int32), "has type torch.int32, .* return floating point scores"),
        (np.ones((3, 1, 16, 16)), "is a ndarray, .* return one score for each feature"),
    ],
)
def test_attributions_of_another_kind(attribution, sentence):
    with pytest.raises(ValueError, match=sentence):
        Deletion()(of(), attribution)


def test_metrics_that_lack_something_say_so():
    with pytest.raises(ValueError, match="units must be one of gradient, contribution, importance, got 'logits'"):
        Deletion()(of(), normal(3, 3, 16, 16), units="logits")
    with pytest.raises(ValueError, match="MaxSensitivity explains again: call it with method="):
        MaxSensitivity()(of(), normal(3, 3, 16, 16))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_attributions_of_other_types_and_with_a_graph_are_scored(dtype):
    explicand, attribution = of(), normal(3, 3, 16, 16).to(dtype)
    for metric in (Infidelity(samples=9), Deletion()):
        expected = metric(explicand, attribution.float(), units="gradient")
        values = metric(explicand, attribution.requires_grad_(), units="gradient")
        assert_same(values, expected, 1e-3)
        assert values.dtype == torch.float32
        assert not values.requires_grad


@dataclass(frozen=True)
class Graphed(Method):
    units: ClassVar[str] = "contribution"

    def attribute(self, explicand):
        return (explicand.inputs.double() * torch.ones(3, 1, 1, requires_grad=True)).double()


def test_what_a_method_returns_is_float32_without_a_graph():
    explicand = of()
    attribution = Graphed()(explicand)
    assert attribution.dtype == torch.float32
    assert not attribution.requires_grad
    assert explicand.units_of(attribution) == "contribution"


def test_units_are_noted_and_otherwise_read_from_the_shape():
    explicand = of()
    contribution = IntegratedGradients(steps=2)(explicand)
    assert explicand.units_of(contribution) == "contribution"
    assert explicand.units_of(contribution.clone()) == "gradient"
    assert explicand.units_of(contribution[:, :1]) == "importance"
    assert explicand.note(contribution.clone()) is None


def test_notes_end_with_their_tensor():
    explicand = of()
    attribution = Gradient()(explicand)
    explicand.curve(attribution)
    assert len(explicand._notes) == 1
    del attribution
    gc.collect()
    assert len(explicand._notes) == 0


def test_features_are_sums_over_channels_without_what_is_absent():
    present = random(3, 16, 16) > 0.5
    attribution = normal(3, 3, 16, 16)
    assert torch.equal(of().features(attribution), attribution.sum(1))
    assert torch.equal(of(present=present).features(attribution), attribution.sum(1) * present)


def test_the_repr_says_what_it_is_and_what_it_cost():
    explicand = of()
    explicand.gradient  # noqa: B018
    assert repr(explicand) == "Explicand((3, 3, 16, 16), Smooth, 1 forwards and 1 backwards per sample so far)"


def test_a_functional_rectifier_does_no_harm_to_layers():
    inputs = images()
    modules = (seeded(partial(Rectified, kind)) for kind in ("in place", "function"))
    maps = [GradCAM()(Classifier(module).explicand(inputs, 0)) for module in modules]
    assert_same(maps[0], maps[1])
    assert functional.relu(maps[0]).equal(maps[0])


@pytest.mark.gpu
def test_draws_and_maps_on_a_gpu_agree_over_batch_sizes():
    explicands = [
        Classifier(seeded(General), device="cuda", batch_size=size).explicand(images(5), 0) for size in (1, 2, 7, 64)
    ]
    for method in (Gradient(), SmoothGrad(samples=9), RISE(samples=20)):
        maps = [method(explicand) for explicand in explicands]
        for other in maps[1:]:
            assert_same(other, maps[0])

"""Every method and metric under every law that concerns it; and every law on something that breaks it."""

import contextlib
import io
import pickle
import re
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from xaieval.attributions.gradient import Gradient
from xaieval.attributions.integrated_gradients import IntegratedGradients
from xaieval.attributions.smoothgrad import SmoothGrad
from xaieval.attributions.sobol import Sobol
from xaieval.component import Method, Metric
from xaieval.laws import (
    LawBroken,
    categories,
    check,
    composed,
    laws_of,
    methods,
    metrics,
    name_of,
    report,
    texts,
    verify,
)
from xaieval.laws.components import FAIR, SMALL, compose, depth, limited, reseeded
from xaieval.laws.guards import Planes, no_waiting, untouched
from xaieval.metrics.deletion import Deletion
from xaieval.metrics.relevance_mass import RelevanceMass
from xaieval.metrics.sparseness import Sparseness
from xaieval.unsupported import UnsupportedError

COMPONENTS = {name: component for group in ("method", "metric") for name, component in composed(group)}
CASES = [
    pytest.param(law, name, id=f"{name}-{name_of(law)}")
    for name, component in COMPONENTS.items()
    for law in laws_of(component)
]

# -- what refuses texts --

REFUSES_TEXTS = {
    "blur_ig": "a blur means nothing for this kind of input",
    **dict.fromkeys(("cem", "cem_1", "cem_3", "cem_5", "cgim", "cgim_scores"), "a concept means nothing for this kind"),
    "coam": "the model has no concepts",
    "causal_path": "no layer that takes and gives activations|no layer that gives the logits",
    "road": "interpolating what is gone means nothing for this kind of input",
}
REFUSES_A_LAW = {
    ("deeplift", "text_product"): "ProductOfTokens calls prod, for which DeepLift has no rule",
    ("excitation_backprop", "text_planted"): "LookingTokens calls scaled_dot_product_attention",
    ("contrastive_excitation_backprop", "text_planted"): "LookingTokens calls scaled_dot_product_attention",
}


def excused(law, name):
    return name_of(law).removeprefix(texts.PREFIX) in COMPONENTS[name].exceptions


@pytest.mark.parametrize(("law", "name"), CASES)
def test_law(law, name):
    """Texts are refused by those that are said to, for the reason that is said, and by no others."""
    refusal = REFUSES_TEXTS.get(name, "") if name_of(law).startswith("text_") else ""
    refusal = REFUSES_A_LAW.get((name, name_of(law)), refusal)
    if not refusal:
        verify(law, COMPONENTS[name])
    elif name_of(law) in ("text_output", "text_values", "text_product", "text_planted") and not excused(law, name):
        with pytest.raises(UnsupportedError, match=refusal):
            verify(law, COMPONENTS[name])
    else:  # a law that calls no model may hold
        with contextlib.suppress(UnsupportedError):
            verify(law, COMPONENTS[name])


@pytest.mark.parametrize("name", COMPONENTS)
def test_yaml_gives_the_defaults(name):
    """A YAML with the name of a class's file gives its defaults; another name is a preset, with options of its own."""
    component = COMPONENTS[name]
    preset = type(component).__module__.rpartition(".")[2] != name
    assert (component == type(component)()) != preset


@pytest.mark.parametrize("name", COMPONENTS)
def test_exceptions_name_laws(name):
    component = COMPONENTS[name]
    assert set(component.exceptions) <= set(map(name_of, laws_of(component)))


# -- methods that break one law each --


def broken(name, body, *, units="importance", **attributes):
    """A method whose `attribute` is this function of (self, explicand)."""
    body_ = {"__module__": __name__, "__doc__": "arXiv:1312.6034", "attribute": body, "__annotations__": {}}
    body_ |= {"units": units, "reference": "arXiv:1312.6034"}
    for key, value in attributes.items():
        body_[key] = value
        if key in ("seed", "samples"):
            body_["__annotations__"][key] = int
    kind: Any = type(name, (Method,), body_)
    return dataclass(frozen=True)(kind)()


def ones(explicand):
    return torch.ones_like(explicand.inputs[:, :1])


def bright(explicand):
    return explicand.inputs.mean(1, keepdim=True)


def noise(explicand, seed, samples=1):
    total = ones(explicand) * 0
    for batch in explicand.batches(samples):
        batch.add(total, batch.uniform("noise", seed, total.shape[1:]))
    return total


class Calls:
    count = 0


def counted(self, explicand):
    Calls.count += 1
    return ones(explicand) * Calls.count


def keep_hook(self, explicand):
    explicand.classifier.module.register_forward_hook(lambda *_: None)
    return ones(explicand)


def training(self, explicand):
    explicand.classifier.module.train()
    explicand.clean  # noqa: B018
    return ones(explicand)


def no_finally(self, explicand):
    module = explicand.classifier.module
    before = module.training
    module.training = not before
    maps = explicand.gradient.sum(1, keepdim=True)
    module.training = before
    return maps


def whole_table(self, explicand):
    table = explicand.inputs.new_empty(explicand.count, self.samples, *explicand.shape[1:])
    for batch in explicand.batches(self.samples):
        batch.write(table, batch.gradients(batch.inputs))
    return table.mean(1)


def one_design(self, explicand):
    design = torch.rand(1, 5, 1, 1, 1, generator=torch.Generator().manual_seed(self.seed))
    total = ones(explicand) * 0
    for batch in explicand.batches(5):
        batch.add(total, batch.pick(design) * batch.inputs.mean(1, keepdim=True))
    return total


def per_batch(self, explicand):
    total = ones(explicand) * 0
    for batch in explicand.batches(3):
        batch.add(total, batch.inputs.mean(1, keepdim=True) / len(batch))
    return total


def sees_absent(self, explicand):
    return explicand.gradient.sum(1, keepdim=True) * explicand.inputs.amax((1, 2, 3), keepdim=True)


def hooked(self, explicand):
    """Guided backpropagation as it is often written: rectifier modules only."""
    seen = []
    handles = [
        part.register_forward_hook(lambda *_: seen.append(1))
        for part in explicand.classifier.module.modules()
        if isinstance(part, torch.nn.ReLU)
    ]
    explicand.clean  # noqa: B018
    for handle in handles:
        handle.remove()
    return ones(explicand) * (1 + len(seen))


def uncounted(self, explicand):
    return explicand.classifier.gradients(explicand.inputs, explicand.target)[1].abs().sum(1, keepdim=True)


def listed(self, explicand):
    return explicand.inputs[:, [0, 2]].mean(1, keepdim=True)


def masked(self, explicand):
    maps = bright(explicand)
    return maps - maps[maps > 0.5].sum()


BROKEN = {
    "output": [
        lambda self, e: ones(e) / 0,
        lambda self, e: torch.ones(2, 1, 16, 16),
        lambda self, e: e.inputs[0],
        lambda self, e: e.gradient,  # importance with three channels
    ],
    "own_tensor": [lambda self, e: e.inputs[:, :1], lambda self, e: e.kept("mine", lambda: bright(e))],
    "deterministic": [lambda self, e: torch.rand(len(e.inputs), 1, 16, 16), counted],
    "batch_size": [per_batch],
    "order": [lambda self, e: ones(e) * torch.arange(1, e.count + 1).view(-1, 1, 1, 1)],
    "neighbors": [lambda self, e: bright(e) / e.inputs.max(), lambda self, e: bright(e) - bright(e).mean()],
    "layout": [lambda self, e: e.inputs.as_strided((e.count, 1, 16, 16), (768, 256, 16, 1)) * e.inputs.stride(0)],
    "untouched": [
        keep_hook,
        training,
        lambda self, e: ones(e) + 0 * torch.rand(()),
        lambda self, e: ones(e) + 0 * np.random.rand(),  # noqa: NPY002
    ],
    "exception": [no_finally],
    "absent": [sees_absent, lambda self, e: bright(e).mean((2, 3), keepdim=True) * ones(e)],
    "hooks": [hooked],
    "counted": [uncounted],
    "meta": [lambda self, e: ones(e) * float(e.inputs.mean()), lambda self, e: torch.ones(e.count, 1, 16, 16)],
    "no_waiting": [
        lambda self, e: ones(e) * e.inputs.mean().item(),
        lambda self, e: ones(e) if e.inputs.mean() > 0 else -ones(e),
        lambda self, e: bright(e.__class__(e.classifier, e.inputs.cpu(), e.target, e.ids)),
        listed,
        masked,
        lambda self, e: ones(e) * len(torch.unique(e.inputs)),
    ],
    "model": [lambda self, e: e.inputs[:, :1].clone(), lambda self, e: ones(e)],
    "planted": [lambda self, e: ones(e), lambda self, e: -bright(e), lambda self, e: -e.gradient.sum(1, keepdim=True)],
}
BROKEN_CASES = [
    pytest.param(law, broken("Broken", body), id=f"{law}-{number}")
    for law, bodies in BROKEN.items()
    for number, body in enumerate(bodies)
] + [
    pytest.param("seed", broken("Deaf", lambda self, e: bright(e), seed=0), id="seed"),
    pytest.param("copies", broken("Fixed", one_design, seed=0), id="copies"),
    pytest.param("memory", broken("Hungry", whole_table, units="gradient", samples=9), id="memory"),
    pytest.param("sentinel", broken("Knows", lambda self, e: e.gradient[:, :1].clone(), sentinel=True), id="sentinel"),
    pytest.param(
        "linear_gradient", broken("Half", lambda self, e: e.gradient / 2, units="gradient"), id="linear_gradient"
    ),
    pytest.param(
        "linear_gradient", broken("Absolute", lambda self, e: e.gradient.abs(), units="gradient"), id="absolute"
    ),
    pytest.param(
        "linear_contribution",
        broken("NoInput", lambda self, e: e.gradient.clone(), units="contribution"),
        id="linear_contribution",
    ),
    pytest.param(
        "complete",
        broken("Claims", lambda self, e: e.gradient * e.inputs, units="contribution", complete=True),
        id="complete",
    ),
    pytest.param("reference", broken("Paperless", lambda self, e: ones(e), reference="somewhere"), id="reference"),
    pytest.param("reference", broken("Undocumented", lambda self, e: ones(e), __doc__="A method."), id="docstring"),
    pytest.param("pickle", broken("Local", lambda self, e: ones(e)), id="pickle"),
]


@pytest.mark.parametrize(("law", "method"), BROKEN_CASES)
def test_law_of_methods_is_broken(law, method):
    laws = {name_of(one): one for one in laws_of(method)}
    with pytest.raises((LawBroken, ValueError) if law == "output" else LawBroken):
        laws[law](method)


@dataclass(frozen=True)
class Listed(Method):
    """arXiv:1312.6034."""

    units: ClassVar[str] = "importance"
    reference: ClassVar[str] = "arXiv:1312.6034"
    values: list[int] = field(default_factory=list)

    def attribute(self, explicand):
        return ones(explicand)


class Plain(Method):
    """arXiv:1312.6034."""

    units = "importance"
    reference = "arXiv:1312.6034"

    def attribute(self, explicand):
        return ones(explicand)


@pytest.mark.parametrize("method", [Listed(), Plain()])
def test_a_component_must_be_a_frozen_dataclass_of_plain_values(method):
    result = {result.law: result for result in check(method)}["plain"]
    assert not result.kept


# -- metrics that break one law each --


def broken_metric(body, *, category="complexity", **attributes):
    """A metric whose `score` is this function of (explicand, attribution)."""
    attributes = {
        "__module__": __name__,
        "__doc__": "arXiv:1312.6034",
        "__annotations__": {"seed": int} if "seed" in attributes else {},
        "score": lambda self, explicand, attribution, units, method: body(explicand, attribution),
        "category": category,
        "higher_is_better": True,
        "reference": "arXiv:1312.6034",
        **attributes,
    }
    kind: Any = type("BrokenMetric", (Metric,), attributes)
    return dataclass(frozen=True)(kind)()


def spread(explicand, attribution):
    return explicand.features(attribution).flatten(1).std(1)


def writes(explicand, attribution):
    attribution.mul_(2)
    return spread(explicand, attribution)


def spends(explicand, attribution):
    return explicand.all_scores(lambda batch: batch.inputs, 1).logit[:, 0]


def spends_first(self, explicand, attribution, units):
    spends(explicand, attribution)
    return {"units": torch.ones(len(attribution), dtype=torch.bool)}


def keeps_all(explicand, attribution):
    return explicand.inputs.repeat_interleave(40, 0).view(explicand.count, -1).mean(1)


def silent_zero(explicand, attribution):
    return torch.nan_to_num(spread(explicand, attribution), posinf=0.0)


def always_worse(sign):
    return lambda explicand, attribution: sign * attribution.flatten(1).std(1)


def three_numbers(explicand, attribution):
    return spread(explicand, attribution)[:, None] * torch.arange(1.0, 4)


BROKEN_METRICS = [
    ("values", broken_metric(lambda e, a: spread(e, a).mean())),
    ("values", broken_metric(lambda e, a: spread(e, a) / 0)),
    ("values", broken_metric(spread, bounds=(0.0, 0.001))),
    ("deterministic", broken_metric(lambda e, a: spread(e, a) * torch.rand(len(a)))),
    ("neighbors", broken_metric(lambda e, a: spread(e, a) / a.std())),
    ("order", broken_metric(lambda e, a: spread(e, a) * torch.arange(1, len(a) + 1))),
    ("batch_size", broken_metric(lambda e, a: spread(e, a) * e.classifier.size("scores"))),
    ("attribution_kept", broken_metric(writes)),
    ("untouched", broken_metric(lambda e, a: spread(e, a) + 0 * torch.rand(()))),
    ("meta", broken_metric(lambda e, a: spread(e, a) * float(a.mean()))),
    ("no_waiting", broken_metric(lambda e, a: spread(e, a) * float(a.mean()))),
    ("absent", broken_metric(lambda e, a: a.flatten(1).std(1))),
    ("absent", broken_metric(lambda e, a: e.inputs.flatten(1).std(1))),
    ("counted", broken_metric(lambda e, a: e.classifier.scores(e.inputs, e.target).logit)),
    ("memory", broken_metric(keeps_all)),
    (
        "undefined_maps",
        broken_metric(spread, undefined=lambda self, e, a, units: {"none": ~a.isnan().flatten(1).any(1)}),
    ),
    (
        "undefined_maps",
        broken_metric(silent_zero, undefined=lambda self, e, a, units: {"none": torch.zeros(len(a), dtype=torch.bool)}),
    ),
    ("undefined_maps", broken_metric(lambda e, a: spread(e, a).nan_to_num().cumsum(0))),
    ("undefined_units", broken_metric(spread, accepts=("gradient",), undefined=spends_first)),
    ("undefined_masks", broken_metric(lambda e, a: (a[:, 0] * e.mask).flatten(1).sum(1), needs=("mask",))),
    ("undefined_parts", broken_metric(spread, needs=("world",), lacking=lambda self, explicand: "")),
    ("true_parts_beat_negated", broken_metric(lambda e, a: 0 * spread(e, a), needs=("world",), category="concepts")),
    ("once", broken_metric(spends)),
    ("seed", broken_metric(spread, seed=0)),
    ("exact_beats_permuted", broken_metric(spread, category="faithfulness")),
    ("permuted_beats_negated", broken_metric(lambda e, a: -spread(e, a.abs()), category="faithfulness")),
    ("mask_beats_permuted", broken_metric(spread, category="localization")),
    ("one_hot_beats_constant", broken_metric(spread, higher_is_better=False)),
    ("still_is_best", broken_metric(lambda e, a: spread(e, a) + 1, category="robustness")),
    ("smooth_beats_noisy", broken_metric(spread, category="robustness", higher_is_better=True)),
    ("ignorant_is_worst", broken_metric(spread, category="randomization", bounds=(0.0, 1.0))),
    ("exact_keeps_axiom", broken_metric(spread, category="axioms", higher_is_better=False)),
    ("exact_keeps_axiom", broken_metric(lambda e, a: 0 * spread(e, a), category="axioms", higher_is_better=False)),
    ("blind_is_fair", broken_metric(lambda e, a: e.inputs.flatten(1).std(1), category="fairness", bounds=(0.0, 1.0))),
    ("blind_is_fair", broken_metric(lambda e, a: 0 * spread(e, a), category="fairness", bounds=(0.0, 1.0))),
    ("map_is_ignored", broken_metric(spread, category="fairness")),
    ("category", broken_metric(spread, category="beauty")),
    ("aggregate", broken_metric(three_numbers, pooled=True, aggregate=lambda self, values: float(values[0, 0]))),
    ("aggregate", broken_metric(three_numbers, pooled=True, aggregate=lambda self, values: float(values.mean()))),
    (
        "aggregate",
        broken_metric(three_numbers, pooled=True, aggregate=lambda self, values: float(values.mul_(2).sum())),
    ),
    ("attributes", broken_metric(three_numbers, pooled=True)),
    ("attributes", broken_metric(spread, needs=("money",))),
]


@pytest.mark.parametrize(("law", "metric"), [pytest.param(*case, id=case[0]) for case in BROKEN_METRICS])
def test_law_of_metrics_is_broken(law, metric):
    laws = {name_of(one): one for one in laws_of(metric)}
    with pytest.raises((LawBroken, ValueError) if law == "values" else LawBroken):
        laws[law](metric)


def test_every_law_is_broken_by_something():
    known = {
        name_of(law)
        for module in (methods, metrics, categories, texts)
        for name, law in vars(module).items()
        if name[:4] == "law_"
    }
    tested = {case.values[0] for case in BROKEN_CASES} | {law for law, _ in BROKEN_METRICS + BROKEN_ON_TEXTS}
    assert known <= tested


# -- exceptions --


@dataclass(frozen=True)
class Excused(Sparseness):
    """arXiv:1810.06583."""

    exceptions: ClassVar[dict[str, str]] = {"one_hot_beats_constant": "it is a joke", "order": "not true"}
    higher_is_better: ClassVar[bool] = False


def test_exceptions_are_strict():
    results = {result.law: result for result in check(Excused)}
    assert results["one_hot_beats_constant"].kept
    assert results["one_hot_beats_constant"].exception == "it is a joke"
    assert not results["order"].kept
    assert "remove it" in results["order"].explanation


@dataclass(frozen=True)
class Misspelled(Sparseness):
    """arXiv:1810.06583."""

    exceptions: ClassVar[dict[str, str]] = {"beauty": "none"}


def test_an_exception_that_names_no_law_is_reported():
    assert [result.law for result in check(Misspelled) if not result.kept] == ["beauty"]


# -- networks that a method refuses --


def attended(self, explicand):
    return explicand.upsample(explicand.attentions("mean", lambda weights: weights.mean(1)))


def not_alike(self, explicand):
    return attended(self, explicand) + len(explicand.inputs)


def refusing(self, explicand):
    raise UnsupportedError(f"{explicand.classifier.name} is not supported")


def test_a_method_that_refuses_convolutional_networks_is_held_to_the_laws_on_transformers():
    def kept(body):
        return {result.law: result.kept for result in check(broken("Attended", body))}

    results = kept(attended)
    own = {"pickle", "text_counted"}  # its class is local, and what the logits of texts read is not counted
    assert {law for law, one in results.items() if not one} == own
    alone = {"neighbors", "text_padding", "text_neighbors"}
    assert {law for law, one in kept(not_alike).items() if not one} == own | alone


# -- texts --


def longer(self, explicand):
    return ones(explicand) / explicand.shape[2]


def spread_over_padding(explicand, attribution):
    return attribution.flatten(1).std(1)


def of_words(self, explicand):
    return ones(explicand) / (explicand.patches(4).count - 3)


BROKEN_ON_TEXTS = [
    ("text_padding", broken("Longer", longer)),
    ("text_padding", broken_metric(spread_over_padding)),
    ("text_words", broken("Words", of_words)),
    ("text_one_token", broken("Several", lambda self, e: bright(e) / (e.present.sum(1) - 1)[:, None, None])),
    ("text_product", broken("Claims", lambda self, e: e.gradient * e.inputs, units="contribution", complete=True)),
    ("text_order", broken("Order", lambda self, e: ones(e) * torch.arange(1, e.count + 1)[:, None, None])),
    ("text_linear_gradient", broken("Half", lambda self, e: e.gradient / 2, units="gradient")),
    ("text_mask_beats_permuted", broken_metric(spread, category="localization")),
    ("text_absent", broken_metric(spread_over_padding)),
]


@pytest.mark.parametrize(("law", "component"), [pytest.param(*case, id=case[0]) for case in BROKEN_ON_TEXTS])
def test_law_on_texts_is_broken(law, component):
    laws = {name_of(one): one for one in laws_of(component)}
    with pytest.raises(LawBroken):
        laws[law](component)


def test_texts_may_be_refused_in_a_sentence():
    def pictures(self, explicand):
        if explicand.inputs.dim() != 4:
            raise UnsupportedError("it looks at pictures")
        return bright(explicand)

    results = check(broken("Pictures", pictures))
    assert {result.law for result in results if not result.kept} == {"model", "pickle"}  # its class is local
    stream = io.StringIO()
    report(results, stream)
    lines = [line for line in stream.getvalue().splitlines() if "text" in line]
    assert len(lines) == 1
    assert re.match(r"skip +texts +unsupported layers: it looks at pictures", lines[0])


def test_laws_that_say_the_same_of_texts_are_not_held_twice():
    names = [name_of(law) for law in laws_of(SmoothGrad())]
    assert {"text_output", "text_padding", "text_words", "text_one_token", "text_linear_gradient"} <= set(names)
    assert not {"text_memory", "text_hooks", "text_seed", "text_plain", "text_layout"} & set(names)
    assert "text_product" in map(name_of, laws_of(IntegratedGradients()))
    assert len(names) == len(set(names))


def test_an_exception_from_a_law_excuses_on_texts_too():
    """As what it says of the formula may show there or not; one of texts alone is strict."""
    assert {result.law: result.kept for result in check(Excused)}["text_one_hot_beats_constant"]
    results = {result.law: result for result in check(ExcusedOnTexts)}
    assert not results["text_order"].kept
    assert "remove it" in results["text_order"].explanation


@dataclass(frozen=True)
class ExcusedOnTexts(Sparseness):
    """arXiv:1810.06583."""

    exceptions: ClassVar[dict[str, str]] = {"text_order": "not true"}


def test_a_method_that_refuses_all_networks_is_told_of_the_first():
    results = {result.law: result for result in check(broken("Refusing", refusing))}
    assert "it raised UnsupportedError: unsupported layers: General is not supported" in results["output"].explanation
    assert not results["meta"].kept


# -- the check as a user sees it --


def test_check_takes_classes_and_instances_and_reports():
    for target in (Gradient, SmoothGrad(samples=3), RelevanceMass):
        stream = io.StringIO()
        assert report(check(target), stream), stream.getvalue()
        assert stream.getvalue().splitlines()[-1].endswith("laws hold.")


def test_a_failure_is_explained_in_a_sentence():
    results = check(broken("Halved", lambda self, e: e.gradient / 2, units="gradient"))
    stream = io.StringIO()
    assert not report(results, stream)
    line = next(line for line in stream.getvalue().splitlines() if "linear_gradient" in line)
    assert line.startswith("BROKEN")
    assert "a gradient is its weights. But on a linear model it is not the weights: are the units right?" in line
    assert "(by 0.5 of the largest value)" in line


def test_a_method_that_raises_breaks_the_law_with_its_error():
    def fails(self, explicand):
        raise KeyError("mine")

    results = check(broken("Fails", fails))
    assert "it raised KeyError: 'mine'" in next(result.explanation for result in results if result.law == "output")


def plain_gradient(model, inputs, target):
    inputs.requires_grad_()
    return torch.autograd.grad(model(inputs).gather(1, target[:, None]).sum(), inputs)[0]


def random_map(model, inputs, target):
    return torch.randn(len(inputs), 1, *inputs.shape[2:])


def test_a_function_is_checked():
    stream = io.StringIO()
    assert report(check(plain_gradient), stream), stream.getvalue()


# -- the tools of the laws --


def test_budgets_are_limited_inside_too():
    method = limited(SmoothGrad(samples=2, method=SmoothGrad(method=Sobol(grid=9, designs=32))), SMALL)
    assert method == SmoothGrad(samples=2, method=SmoothGrad(samples=6, method=Sobol(grid=4, designs=4)))
    assert depth(method) == 3
    assert limited(IntegratedGradients(), FAIR) == IntegratedGradients(steps=32)
    assert reseeded(SmoothGrad(method=Sobol()), 3) == SmoothGrad(method=Sobol(seed=3), seed=3)


def test_compose_wants_the_name_as_the_key():
    assert compose("mine: {_target_: xaieval.metrics.deletion.Deletion, removal: '${removal}'}", "mine") == Deletion()
    with pytest.raises(ValueError, match=r"mine\.yaml must hold the one key 'mine', got other"):
        compose("other: {_target_: xaieval.metrics.deletion.Deletion}", "mine")


@pytest.mark.parametrize("component", COMPONENTS.values(), ids=str)
def test_yaml_files_name_every_field(component):
    from importlib.resources import files

    group = "metric" if isinstance(component, Metric) else "method"
    name = next(name for name, one in COMPONENTS.items() if one is component)
    text = (files("xaieval.conf") / group / f"{name}.yaml").read_text()
    assert [one.name for one in fields(component) if f"  {one.name}:" not in text] == []


def test_no_waiting_allows_what_stays_on_the_device():
    values = torch.rand(4, 5)
    with no_waiting():
        values[:, 2:4].masked_fill(values[:, :2] > 0.5, 0.0)
        values[values > 0.5] = 0.0  # a masked fill
        torch.where(values > 0.5, values, 0.0)
        values.index_select(1, torch.arange(3))
        values.sort().indices.argsort()


@pytest.mark.parametrize(
    "wait",
    [
        lambda x: x.sum().item(),
        lambda x: bool(x.sum() > 0),
        lambda x: float(x.sum()),
        lambda x: x.numpy(),
        lambda x: np.asarray(x),
        lambda x: x.tolist(),
        lambda x: x.cpu(),
        lambda x: x.nonzero(),
        lambda x: x[x > 0.5],
        lambda x: x[[0, 1]],
        lambda x: torch.equal(x, x),
        lambda x: x.unique(),
        lambda x: x.masked_select(x > 0.5),
        lambda x: x.repeat_interleave((x[0] > 0.5).long(), 1),
        lambda x: x.__setitem__(x > 0.5, x[0, :2].clone()),
    ],
)
def test_no_waiting_sees(wait):
    with pytest.raises(LawBroken), no_waiting():
        wait(torch.rand(4, 5))


def test_untouched_also_sees_changes_before_an_exception():
    module = torch.nn.Linear(2, 2)
    with pytest.raises(LawBroken, match="it changed the values of bias"), untouched(module), torch.no_grad():
        module.bias.add_(1)
    with pytest.raises(LawBroken, match="the gradient of weight"), untouched(module):
        module(torch.ones(1, 2)).sum().backward()
    with pytest.raises(LawBroken, match="torch's random state"), untouched(module):
        torch.rand(1)


def test_planes_counts_storages_alive_at_once():
    with Planes((5, 7)) as planes:
        first = torch.ones(2, 3, 5, 7)
        view = first[:, :1] * 1
        del first
        torch.ones(1, 5, 7)
        del view
    assert planes.largest == 8


def test_components_are_pickled_by_name():
    assert pickle.loads(pickle.dumps(Deletion())) == Deletion()

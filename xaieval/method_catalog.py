"""The catalog of methods: what each says of itself, and what is measured by watching it work.

`xaieval catalog method docs/methods.md` writes it. Formula, cost and differences come from the docstrings, parameters
from the classes; evaluations, what is read of the model, and sign and class are measured.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from xaieval.classifier import Classifier
from xaieval.component import Method, component_json
from xaieval.cost import Cost
from xaieval.explicand import Explicand
from xaieval.laws.common import difference
from xaieval.laws.components import FAIR, SMALL, composed, limited
from xaieval.laws.families import ATTENDING, CONVOLUTIONAL, DECIDING, POOLING, READING
from xaieval.laws.toys import images, names, seeded
from xaieval.pages import (
    CONCEPTS,
    SIDE,
    counted,
    default_of,
    exceptions,
    heading,
    line,
    meanings,
    parameter_table,
    photo,
    source,
    table,
    title,
)
from xaieval.support import FAMILIES, refusal, refusals
from xaieval.unsupported import UNSUPPORTED, UnsupportedError

PATH = "docs/methods.md"
"""Where the repository keeps the catalog, below its root."""

DIFFERENT = 1e-3
"""From which part of a map's largest value on a negative score, or a difference between two classes, is no rounding."""


@dataclass(frozen=True)
class Entry:
    """What the catalog knows of a method.

    Attributes:
        name: The stem of its YAML.
        method: As its YAML composes it.
        cost: Evaluations for one input of 224 x 224 pixels.
        reads: What a run reads of the model: scores, gradients, activations, weights.
        signed: Whether some scores of its maps are negative.
        classes: Whether its map depends on the class explained.
    """

    name: str
    method: Method
    cost: Cost
    reads: tuple[str, ...]
    signed: bool
    classes: bool


def catalog() -> str:
    """The catalog as Markdown."""
    entries = [entry(name, method) for name, method in composed("method")]
    sentinels = [one for one in entries if one.method.sentinel]
    oracles = [one for one in entries if one.method.oracle]
    own = [one for one in entries if not (one.method.sentinel or one.method.oracle)]
    support = _support(refusals({one.name: one.method for one in own}))
    bounds = [SENTINELS, _bounds("sentinel", sentinels), ORACLES, _bounds("oracle", oracles)]
    parts = [INTRODUCTION, _overview(own), SUPPORT, support, *bounds, *map(_section, [*own, *oracles])]
    return "\n\n".join(parts) + "\n"


def entry(name: str, method: Method) -> Entry:
    """What is known of a method, measured now."""
    watch = Watch(limited(method, FAIR))
    return Entry(name, method, evaluations(method), watch.reads, watch.signed, watch.classes)


# -- what is measured --------------------------------------------------------------------------------------------------


def evaluations(method: Method) -> Cost:
    """Forwards and backwards for one input of 224 x 224 pixels on ResNet-18, counted and not computed.

    A method that needs the host cannot run without values: it is counted on a tiny network. One that reads attention is
    counted on ViT-B/16, one that reads concepts on those of ResNet-18.
    """
    for network in ("resnet18", "vit_b_16", CONCEPTS):
        explicand = photo(bool(method.syncs), network)
        try:
            method(explicand)
        except UnsupportedError as error:
            refused = error
        else:
            return explicand.cost
    raise refused


class Watched(nn.Module):
    """A model that notes what is asked of it."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.asked: set[str] = set()

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits `(n, classes)`."""
        self.asked.add("scores")
        if any(part._forward_hooks for part in self.module.modules()):
            self.asked.add("activations")
        if any(weight.requires_grad for weight in self.module.parameters()):  # the engine's own copies are detached
            self.asked.add("weights")
        logits: Tensor = self.module(inputs)
        if logits.requires_grad:
            logits.register_hook(self._differentiated)
        return logits

    def _differentiated(self, gradient: Tensor) -> None:
        self.asked.add("gradients")


class Asked(Classifier):
    """A classifier that notes whose default layer it was asked for first: the engine may look up others after it."""

    first = ""

    def default_layer(self, method: str, example: Tensor, attended: Tensor | None = None) -> str:
        """The layer, as `Classifier` finds it."""
        self.first = self.first or method
        return super().default_layer(method, example, attended)


class Watch:
    """A method at work on a small network: a transformer or a concept bottleneck where it refuses a convolutional one.

    Attributes:
        reads: What it asks of the model; scores alone, or what is beyond them.
        layer: Whose default layer it reads, such as `grad_cam`; empty: none.
        signed: Whether it gives negative scores.
        classes: Whether the maps of two classes differ by more than a factor and a constant.
    """

    def __init__(self, method: Method) -> None:
        for family in (CONVOLUTIONAL, ATTENDING, DECIDING):
            try:
                self._watch(method, family.general)
            except UnsupportedError as error:
                refused = error
            else:
                return
        raise refused

    def _watch(self, method: Method, network: Callable[[], nn.Module]) -> None:
        model = Watched(seeded(network))
        classifier = Asked(model, batch_size=16)
        maps = [self._maps(method, classifier, target) for target in (0, 1)]
        model.asked = set()  # the first calls also looked for layers
        maps.append(self._maps(method, classifier, 2))
        self.reads = tuple(sorted(model.asked - {"scores"} or model.asked))
        self.layer = classifier.first
        self.signed = any(bool((_scaled(one) < -DIFFERENT).any()) for one in maps)
        first, *others = (_scaled(one - one.mean(1, keepdim=True)) for one in maps)  # their contrast alone
        self.classes = any(difference(one, first) > DIFFERENT for one in others)

    def _maps(self, method: Method, classifier: Classifier, target: int) -> Tensor:
        """Maps of some images, `(N, scores)`."""
        explicand: Explicand = classifier.explicand(images(4), target, names(4))
        return method(explicand).flatten(1)


def _scaled(maps: Tensor) -> Tensor:
    """Each map divided by its largest absolute score; one of zeros, but for rounding, stays."""
    return maps / maps.abs().amax(1, keepdim=True).clamp(min=1e-6)


def default_layers(chosen: Iterable[tuple[str, Method]]) -> dict[str, list[str]]:
    """For each kind of default layer the methods that ask for it.

    Args:
        chosen: Names and methods; those without a field `layer` or `layers`, also inside, are passed over.
    """
    found: dict[str, list[str]] = {}
    for name, method in chosen:
        kind = Watch(limited(method, SMALL)).layer if '"layer' in component_json(method) else ""
        if kind:
            found.setdefault(kind, []).append(name)
    return found


# -- what the docstring says -------------------------------------------------------------------------------------------

LABELS = ("Units", "Cost", "Differs from the paper", "Attributes", "Raises")


def said(method: Method) -> dict[str, str]:
    """The parts of a docstring: `Formula` is what comes before the first label, the others are under their label."""
    text = inspect.cleandoc(type(method).__doc__ or "")
    start = rf"(?:^|(?<=\.)\s)({'|'.join(LABELS)}):\s"
    formula, *pieces = re.split(start, text, flags=re.MULTILINE)
    found = dict(zip(pieces[::2], pieces[1::2], strict=True))
    prose = {label: line(found[label]) for label in LABELS[:3] if label in found}
    return {"Formula": formula.strip(), **prose, "Attributes": found.get("Attributes", "")}


# -- the page ----------------------------------------------------------------------------------------------------------

INTRODUCTION = f"""\
# Attribution methods

<!-- Made by `xaieval catalog method {PATH}` from the classes and their YAML. -->

What can be chosen as `method=NAME`, with the defaults of `conf/method/NAME.yaml`. All of them explain images, and all
but those that say so texts.

- **Units**: `gradient` is df/dx, `contribution` is in units of the score, of `importance` only order and scale mean
  something.
- **Reads**: what a run asks of the model, observed on a small network: `scores` alone, or also `gradients`,
  `activations` of inner layers, or gradients of `weights`.
- **Forwards**, **backwards**: evaluations for one input of {SIDE} x {SIDE} pixels with the defaults, as counted on
  ResNet-18 (methods marked * need values on the host and are counted on a tiny network). What several methods share,
  such as the gradient at the input, is computed once in a run.
- **Complete**: the sum of the scores is claimed to be f(x) - f(baseline), which a law checks.
- **Signed**, **class**: whether some scores are negative, and whether the maps of two classes differ by more than a
  factor and a constant; observed on a small network with random weights and four images, so a property of the formula
  and no promise that a map of your network shows much of it."""

SUPPORT = """\
## Which models a method supports

Found by trying each method with a small budget on an image of 64 x 64 pixels, on these networks with random weights;
`xaieval list method model=NAME` does it for yours. What a method does not support is undefined in a run, with the
reason, and never a map. Methods that are not in the table explain all of them."""

SENTINELS = """\
## Sentinels

Methods that know nothing of the model. A method that a metric does not set apart from them has shown that metric
nothing."""

ORACLES = """\
## Oracles

Maps made to score well on a metric, or of the ground truth. They are no explanations to choose: `xaieval reliability`
reads a metric's column against them, as (score - random) / (oracle - random)."""


def _overview(entries: Sequence[Entry]) -> str:
    counts, claims = ("forwards", "backwards"), ("complete", "signed", "class")
    head = ("method", "what it is", "source", "units", "reads", *counts, *claims)
    return table(head, [_summary(one) for one in entries])


def _summary(one: Entry) -> list[str]:
    method, mark = one.method, "*" if one.method.syncs else ""
    counts = [f"{count:,.0f}{mark}" for count in one.cost[:2]]
    claims = [_yes(claim) for claim in (method.complete, one.signed, one.classes)]
    link = f"[{one.name}](#{one.name})"
    return [link, title(method), source(method), method.units, ", ".join(one.reads), *counts, *claims]


def _support(found: Mapping[str, Mapping[str, str]]) -> str:
    """A row for each method that is refused somewhere, and the reasons by number."""
    refused = [name for name in next(iter(found.values())) if any(family[name] for family in found.values())]
    reasons = dict.fromkeys(family[name] for name in refused for family in found.values() if family[name])
    numbers = {reason: number for number, reason in enumerate(reasons, 1)}
    words = {reason: f"no ({number})" for reason, number in numbers.items()} | {"": "yes"}
    rows = [[f"[{name}](#{name})", *(words[family[name]] for family in found.values())] for name in refused]
    return "\n\n".join(
        [table(("method", *FAMILIES), rows), "\n".join(f"{n}. {_why(reason)}" for reason, n in numbers.items())]
    )


def _why(reason: str) -> str:
    """The reason without the words that all of them begin with."""
    return reason.removeprefix(f"{UNSUPPORTED}: ")


def _bounds(kind: str, entries: Sequence[Entry]) -> str:
    """What is no explanation to choose, but what others are read against."""
    rows = [
        [f"`{one.name}`", line(said(one.method)["Formula"]), source(one.method), ", ".join(_parameters(one.method))]
        for one in entries
    ]
    return table((kind, "what it is", "source", "parameters"), rows)


def _parameters(method: Method) -> Iterator[str]:
    for field in dataclasses.fields(method):  # type: ignore[arg-type] # every method is a dataclass
        yield f"`{field.name}` {default_of(getattr(method, field.name))}"


def _explained(method: Method) -> str:
    """Kinds of inputs, tried on small models of texts."""
    whys = [refusal(family.work(), limited(method, FAIR)) for family in (READING, POOLING)]
    return f"images ({whys[0].removeprefix(f'{UNSUPPORTED}: ')})" if all(whys) else "images and texts"


def _section(one: Entry) -> str:
    method, words = one.method, said(one.method)
    lines = [
        f"- **Units**: {words.get('Units', method.units)}",
        f"- **Cost**: {words.get('Cost', 'not said.')} Measured: {_counted(one)}.",
        f"- **Reads**: {', '.join(one.reads)}. **Explains**: {_explained(method)}.",
        f"- **Claims**: {_claims(one)}.",
        f"- **Differs from the paper**: {words.get('Differs from the paper', 'nothing is named.')}",
        *exceptions(method),
    ]
    if method.syncs:
        lines.append(f"- **Waits for the host**: {method.syncs}.")
    parts = [f"## {one.name}", heading(method), words["Formula"], "\n".join(lines)]
    return "\n\n".join([*parts, *parameter_table(method, meanings(words["Attributes"]))])


def _counted(one: Entry) -> str:
    where = "a tiny network" if one.method.syncs else "ResNet-18"
    return f"{counted(one.cost)} at {SIDE} x {SIDE} pixels on {where}"


def _claims(one: Entry) -> str:
    complete = "complete (a law checks it)" if one.method.complete else "not complete"
    signed = "signed" if one.signed else "not signed"
    return f"{complete}, {signed}, {'depends' if one.classes else 'does not depend'} on the class"


def _yes(claim: bool) -> str:
    return "yes" if claim else "-"

"""The catalogs: what they measure where the answer is known, what they read in docstrings, the pages."""

from dataclasses import dataclass, fields
from math import inf
from pathlib import Path
from typing import ClassVar

import pytest
import torch

from xaieval import method_catalog, metric_catalog, pages, verbs
from xaieval.attributions.coam import CoAM
from xaieval.attributions.edge_detector import EdgeDetector
from xaieval.attributions.grad_cam import GradCAM
from xaieval.attributions.gradient import Gradient
from xaieval.attributions.integrated_gradients import IntegratedGradients
from xaieval.attributions.normgrad import NormGrad
from xaieval.attributions.occlusion import Occlusion
from xaieval.attributions.permuted import Permuted
from xaieval.attributions.rise import RISE
from xaieval.attributions.smoothgrad import SmoothGrad
from xaieval.attributions.sobol import Sobol
from xaieval.comparison import CATEGORIES
from xaieval.component import Method, Metric
from xaieval.config import ConfigError, default, names
from xaieval.method_catalog import Watch, default_layers, evaluations, said
from xaieval.metric_catalog import entry
from xaieval.metrics.class_sensitivity import ClassSensitivity
from xaieval.metrics.completeness_gap import CompletenessGap
from xaieval.metrics.deletion import Deletion
from xaieval.metrics.infidelity import Infidelity
from xaieval.metrics.irof import IROF
from xaieval.metrics.max_sensitivity import MaxSensitivity
from xaieval.metrics.pointing_game import PointingGame
from xaieval.metrics.sparseness import Sparseness
from xaieval.pages import meanings, title

ROOT = Path(__file__).parents[1]


PAGES = {"method": method_catalog, "metric": metric_catalog}


@pytest.mark.slow
@pytest.mark.parametrize("group", PAGES)
def test_the_page_is_current(group):
    page = PAGES[group]
    made, kept = page.catalog(), (ROOT / page.PATH).read_text(encoding="utf-8")
    assert made == kept, (
        f"{page.PATH} is not what the {group}s say now: write it with `xaieval catalog {group} {page.PATH}`"
    )


@pytest.mark.parametrize("group", PAGES)
def test_the_page_has_every_component(group):
    path = PAGES[group].PATH
    page = (ROOT / path).read_text(encoding="utf-8")
    missing = [name for name in names(group) if f"\n## {name}\n" not in page and f"| `{name}` |" not in page]
    assert missing == [], f"write {path} with `xaieval catalog {group} {path}`"


# -- what is measured --


@pytest.mark.parametrize(
    ("method", "forwards", "backwards"),
    [
        (Gradient(), 1, 1),
        (GradCAM(), 1, 1),
        (IntegratedGradients(steps=50), 50, 50),
        (SmoothGrad(samples=7, method=IntegratedGradients(steps=3)), 21, 21),
        (RISE(samples=4000), 4000, 0),
        (Sobol(grid=8, designs=32), 32 * 65, 0),
        (Occlusion(window=15, stride=8), 28**2 + 1, 0),
        (EdgeDetector(), 0, 0),
        (CoAM(), 1, 0),
    ],
)
def test_evaluations_are_those_of_the_formula(method, forwards, backwards):
    assert evaluations(method)[:2] == (forwards, backwards)


@dataclass(frozen=True)
class Halting(Method):
    """arXiv:1312.6034."""

    units: ClassVar[str] = "gradient"
    reference: ClassVar[str] = "arXiv:1312.6034"
    syncs: ClassVar[str] = "it stops when the score is known"

    def attribute(self, explicand):
        assert float(explicand.clean.logit.abs().sum()) > 0  # not on the meta device
        return explicand.gradient.clone()


def test_a_method_that_waits_is_counted_with_values():
    assert evaluations(Halting())[:2] == (2, 1)


@pytest.mark.parametrize(
    ("method", "reads", "layer", "signed", "classes"),
    [
        (Gradient(), ("gradients",), "", True, True),
        (SmoothGrad(samples=2, variant="squared"), ("gradients",), "", False, True),
        (GradCAM(), ("activations", "gradients"), "grad_cam", False, True),
        (SmoothGrad(samples=2, method=GradCAM()), ("activations", "gradients"), "grad_cam", False, True),
        (NormGrad(), ("activations", "gradients"), "normgrad", False, True),
        (RISE(samples=40), ("scores",), "", False, True),
        (Occlusion(window=5, stride=3), ("scores",), "", True, True),
        (EdgeDetector(), (), "", False, False),
        (CoAM(), ("activations",), "", True, True),
        (Permuted(), ("gradients",), "", True, True),
    ],
    ids=str,
)
def test_watching_a_method(method, reads, layer, signed, classes):
    watch = Watch(method)
    assert (watch.reads, watch.layer, watch.signed, watch.classes) == (reads, layer, signed, classes)


@dataclass(frozen=True)
class Louder(Method):
    """The same map for every class but for a factor and a constant, read from an inner layer."""

    units: ClassVar[str] = "importance"
    reference: ClassVar[str] = "arXiv:1312.6034"

    def attribute(self, explicand):
        layer = "module.0"
        hidden = explicand.activations((layer,))[layer][0]
        factor = explicand.clean.logit.abs().view(-1, 1, 1, 1)
        return explicand.upsample(hidden.norm(dim=1, keepdim=True)) * factor + factor**2


def test_a_factor_and_a_constant_are_no_difference_between_classes():
    watch = Watch(Louder())
    assert not watch.classes
    assert watch.reads == ("activations", "gradients")


def test_gradients_of_weights_are_seen():
    model = method_catalog.Watched(torch.nn.Linear(3, 2))
    assert model(torch.zeros(1, 3)).requires_grad
    assert model.asked == {"scores", "weights"}


def test_default_layers_name_the_methods_that_ask():
    chosen = {"cam": GradCAM(), "smooth": SmoothGrad(method=GradCAM()), "named": GradCAM(layer="module.3")}
    assert default_layers({**chosen, "gradient": Gradient()}.items()) == {"grad_cam": ["cam", "smooth"]}


# -- what the docstring says --


@dataclass(frozen=True)
class Documented(Method):
    """`a b` of
    a layer, `|a|`.

    | table | of |
    |-------|----|

    Units: importance. Cost: one forward
    and one backward.

    Not this.

    Differs from the paper: in
    nothing.

    Attributes:
        samples: How many,
            at least one.
        seed: Of the draws.

    Raises:
        ValueError: Never: no.
    """

    samples: int = 3
    seed: int = 0


def test_a_docstring_is_read_by_its_labels():
    words = said(Documented())
    assert words["Formula"] == "`a b` of\na layer, `|a|`.\n\n| table | of |\n|-------|----|"
    assert words["Units"] == "importance."
    assert words["Cost"] == "one forward and one backward."
    assert words["Differs from the paper"] == "in nothing."
    assert meanings(words["Attributes"]) == {"samples": "How many, at least one.", "seed": "Of the draws."}


@pytest.mark.parametrize("name", names("method"))
def test_every_docstring_has_the_parts(name):
    method = default("method", name)
    words = said(method)
    wanted = {"Units", "Cost"} if method.sentinel else {"Units", "Cost", "Differs from the paper"}
    assert wanted <= set(words), f"{type(method).__name__}'s docstring lacks {wanted - set(words)}"
    assert words["Formula"]
    known = set(meanings(words["Attributes"]))
    names_ = {field.name for field in fields(method)}
    assert known == names_, f"{type(method).__name__}'s docstring and fields differ in {known ^ names_}"


def test_presets_say_what_they_set():
    assert title(Gradient()) == "The gradient of the class score at the input."
    assert title(IntegratedGradients(steps=7)).endswith(" to the input. With `steps=7`.")


def test_a_bar_in_a_cell_ends_no_cell():
    assert pages.table(("a", "b"), [("|x|", "y")]).splitlines() == ["| a | b |", "| --- | --- |", r"| \|x\| | y |"]


@pytest.mark.parametrize("group", PAGES)
def test_the_command_writes_the_page(group, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(PAGES[group], "catalog", lambda: "# \N{GREEK SMALL LETTER SIGMA}\n")
    verbs.run_verb("catalog", [group, str(tmp_path / "page.md")])
    assert (tmp_path / "page.md").read_bytes() == "# \N{GREEK SMALL LETTER SIGMA}\n".encode()
    verbs.run_verb("catalog", [group])
    assert capsys.readouterr().out == "# \N{GREEK SMALL LETTER SIGMA}\n"


@pytest.mark.parametrize("arguments", [[], ["docs/methods.md"], ["metric", "a", "b"]])
def test_the_command_takes_a_group_and_a_file(arguments):
    with pytest.raises(ConfigError) as raised:
        verbs.run_verb("catalog", arguments)
    assert str(raised.value) == (
        "catalog takes `method` or `metric` and one file to write, as in `xaieval catalog method docs/methods.md`, "
        f"got {arguments}"
    )


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("pointing_game_small", "pointing_game with largest_object=0.25"),
        ("linear_approximation", "normgrad with extraction='scaling', aggregation='sum'"),
    ],
)
def test_a_preset_is_listed_with_what_it_changes(name, line, capsys):
    verbs.run_verb("list", ["metric" if name in names("metric") else "method"])
    (found,) = (one for one in capsys.readouterr().out.splitlines() if one.split()[0] == name)
    assert found.endswith(f"  {line}")


# -- metrics --


@pytest.mark.parametrize(
    ("metric", "cost", "shared"),
    [
        (Sparseness(), (0, 0), (0, 0)),
        (Deletion(steps=5), (6, 0), (2, 0)),  # the input and what is left of it at the end
        (Infidelity(samples=7), (8, 0), (8, 0)),
        (MaxSensitivity(copies=3), (3, 3), (0, 0)),
        (ClassSensitivity(), (2, 1), (1, 0)),
        (CompletenessGap(), (2, 0), (2, 0)),
        (IROF(segments="slic", grid=2), (5, 0), (2, 0)),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Metric) else None,
)
def test_evaluations_of_a_metric_and_those_a_second_method_shares(metric, cost, shared):
    found = entry("name", metric)
    assert (found.cost[:2], found.shared[:2]) == (cost, shared)


def test_reasons_are_those_beyond_what_holds_for_all():
    assert entry("name", Sparseness()).reasons == ()
    found = entry("name", PointingGame(largest_object=0.25)).reasons
    assert found == (
        "empty mask", "mask covers everything", "chance above 0.75", "object above 0.25 of the features"
    )  # fmt: skip


@dataclass(frozen=True)
class Told(Metric):
    """A formula.

        value = 1

    And more.

    Higher is better: 1 for
    all. Bounds: 0 to 1; below .1 never. Chance: 0. Cost: none. Accepts all. Needs: mask. Undefined where
    it is not. Blind.

    Simple.

    Differs from the paper (section 3): in
    nothing.

    Attributes:
        seed: Of the draws.

    Raises:
        ValueError: Never.
    """

    seed: int = 0


def test_a_metrics_docstring_is_read_by_its_sentences():
    words = metric_catalog.said(Told())
    assert words.pop("Attributes").strip() == "seed: Of the draws."
    assert words == {
        "Formula": "A formula.\n\n    value = 1\n\nAnd more.",
        "Direction": "Higher is better: 1 for all.",
        "Bounds": "0 to 1; below .1 never.",
        "Chance": "0.",
        "Cost": "none.",
        "Accepts": "all.",
        "Needs": "mask.",
        "Undefined": "where it is not.",
        "Differs": " (section 3): in nothing.",
        "Notes": "Blind. Simple.",
    }


@pytest.mark.parametrize("name", names("metric"))
def test_every_metrics_docstring_has_the_parts_and_agrees_with_the_class(name):
    metric = default("metric", name)
    words, title_ = metric_catalog.said(metric), type(metric).__name__
    wanted = {"Formula", "Direction", "Bounds", "Cost", "Differs"}
    assert wanted <= {key for key, text in words.items() if text}, f"{title_}'s docstring lacks one of {wanted}"
    assert words["Direction"].startswith("Higher" if metric.higher_is_better else "Lower"), title_
    assert (words.get("Needs", ".") != ".") == bool(metric.needs), title_
    assert metric.category in CATEGORIES
    known = set(meanings(words["Attributes"]))
    names_ = {field.name for field in fields(metric)}
    assert known == names_, f"{title_}'s docstring and fields differ in {known ^ names_}"


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [(0, 1, "0 to 1"), (-1, inf, "at least -1"), (-inf, 1, "at most 1"), (-inf, inf, "none")],
)
def test_bounds_in_words(low, high, text):
    class Bounded(Metric):
        bounds = (low, high)

    assert metric_catalog._bounds(Bounded()) == text

"""The catalog of methods: what it measures on methods with known answers, what it reads in a docstring, the page."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import ClassVar

import pytest
import torch

from xaieval import catalog, verbs
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
from xaieval.catalog import Watch, default_layers, evaluations, meanings, said, title
from xaieval.component import Method
from xaieval.config import ConfigError, default, names

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_the_page_is_current():
    made, kept = catalog.catalog(), (ROOT / catalog.PATH).read_text(encoding="utf-8")
    assert made == kept, (
        f"{catalog.PATH} is not what the methods say now: write it with `xaieval catalog {catalog.PATH}`"
    )


def test_the_page_has_every_method():
    page = (ROOT / catalog.PATH).read_text(encoding="utf-8")
    missing = [name for name in names("method") if f"\n## {name}\n" not in page and f"| `{name}` |" not in page]
    assert missing == [], f"write {catalog.PATH} with `xaieval catalog {catalog.PATH}`"


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
    model = catalog.Watched(torch.nn.Linear(3, 2))
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
    assert catalog._table(("a", "b"), [("|x|", "y")]).splitlines() == ["| a | b |", "| --- | --- |", r"| \|x\| | y |"]


def test_the_command_writes_the_page(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(catalog, "catalog", lambda: "# \N{GREEK SMALL LETTER SIGMA}\n")
    verbs.run_verb("catalog", [str(tmp_path / "page.md")])
    assert (tmp_path / "page.md").read_bytes() == "# \N{GREEK SMALL LETTER SIGMA}\n".encode()
    verbs.run_verb("catalog", [])
    assert capsys.readouterr().out == "# \N{GREEK SMALL LETTER SIGMA}\n"
    with pytest.raises(ConfigError, match=r"catalog writes one file, as in .* got \['a', 'b'\]"):
        verbs.run_verb("catalog", ["a", "b"])

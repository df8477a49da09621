"""The examples in docstrings give what they show."""

import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SHOWN = [
    "xaieval.api.evaluate",
    "xaieval.api.explain",
    "xaieval.attributions.integrated_gradients.IntegratedGradients",
    "xaieval.classifier.Classifier",
    "xaieval.leaderboard.leaderboards",
    "xaieval.metrics.sparseness.Sparseness",
    "xaieval.plots.show",
    "xaieval.statistics.bootstrap_interval",
    "xaieval.statistics.paired_difference",
]
"""What a newcomer calls first."""


def modules():
    """Names of the modules with examples, by the folders that hold them."""
    for folder, package in (("xaieval", ()), ("attributions", ("xaieval",)), ("metrics", ("xaieval",))):
        for path in sorted((ROOT / folder).rglob("*.py")):
            if "    >>> " in path.read_text(encoding="utf-8"):
                yield ".".join((*package, *path.relative_to(ROOT).with_suffix("").parts))


@pytest.mark.parametrize("name", list(modules()))
def test_examples_of_a_module(name):
    pytest.importorskip("matplotlib", reason="drawing needs the extra `plots`")
    done = doctest.testmod(importlib.import_module(name))
    assert done.attempted > 0
    assert done.failed == 0  # what was expected, and what came, is printed


@pytest.mark.parametrize("name", SHOWN)
def test_main_names_have_an_example(name):
    module, _, attribute = name.rpartition(".")
    thing = getattr(importlib.import_module(module), attribute)
    assert any(found.examples for found in doctest.DocTestFinder(recurse=False).find(thing, attribute))

"""The importance of concepts by intervention in closed form, and the table of a bottleneck's concepts."""

import numpy as np
import pytest
import torch
from concept_toys import SCHEME, SIDE, Patches, colors, samples
from torch import nn

from xaieval import concept_report, verbs
from xaieval.classifier import Classifier
from xaieval.concept_effects import changes, strongest
from xaieval.concept_model import Bottleneck, scorer
from xaieval.concept_report import said
from xaieval.concept_vectors import Fitting
from xaieval.config import ConfigError
from xaieval.datasets.preprocess import Preprocess
from xaieval.laws.toys import General, seeded
from xaieval.models.bottleneck import load
from xaieval.tcav import TCAV
from xaieval.unsupported import UnsupportedError

QUICK = TCAV(runs=5, samples=15, fitting=Fitting("difference"))


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def drawn(count=60):
    random = torch.Generator().manual_seed(0)
    margins, holds = torch.randn(count, 3, generator=random), torch.rand(count, 3, generator=random) < 0.4
    head, more = torch.randn(4, 3, generator=random), torch.randn(count, 4, generator=random)
    return margins, holds, margins @ head.T + more, head


def test_on_a_linear_head_a_change_is_the_weight_times_the_way_to_the_other_mean():
    margins, holds, logits, head = drawn()
    for j in range(3):
        found = changes(margins, holds, logits, head, j)
        for row in range(60):
            there = bool(holds[row, j])
            mean = margins[holds[:, j] != there, j].mean()
            step = margins[row, j] - mean if there else mean - margins[row, j]
            assert torch.allclose(found[row], head[:, j] * step, atol=1e-5)
        gap = margins[holds[:, j], j].mean() - margins[~holds[:, j], j].mean()
        assert torch.allclose(found.mean(0), head[:, j] * gap, atol=1e-5)


def test_probabilities_are_those_of_the_changed_logits():
    margins, holds, logits, head = drawn()
    found = changes(margins, holds, logits, head, 1, "probability")
    row = int(holds[:, 1].nonzero()[0])
    other = margins[row].clone()
    other[1] = margins[~holds[:, 1], 1].mean()
    after = logits[row] - margins[row] @ head.T + other @ head.T
    assert torch.allclose(found[row], logits[row].softmax(0) - after.softmax(0), atol=1e-6)
    assert torch.allclose(found.sum(1), torch.zeros(60), atol=1e-5)
    with pytest.raises(ValueError, match="logit, probability"):
        changes(margins, holds, logits, head, 1, "odds")


def test_the_strongest_class_has_an_interval_over_sources():
    margins, holds, logits, head = drawn()
    change = changes(margins, holds, logits, head, 0)
    found = strongest(change)
    assert found.target == int(head[:, 0].abs().argmax())
    assert found.interval.low < found.interval.mean < found.interval.high
    assert found.interval.mean == pytest.approx(float(change[:, found.target].mean()), abs=1e-6)
    pairs = [("a", "b", "c")[row % 3] for row in range(60)]
    assert strongest(change, pairs).interval != found.interval


def test_a_concept_that_always_holds_has_no_effect_that_is_known():
    margins, holds, logits, head = drawn()
    found = strongest(changes(margins, holds | True, logits, head, 0))
    assert np.isnan(found.interval.mean)
    assert (found.target, found.interval.n) == (-1, 0)
    ignored = strongest(changes(margins, holds, logits, 0 * head, 0))
    assert (ignored.target, ignored.interval.mean) == (-1, 0)


def made(base=None, **options):
    return load(base=base or colors(), dataset=Patches(60), kind="svm", C=10, lam=1e-3, **options)


def test_what_is_said_of_each_concept():
    classifier, shown = made(), samples(70, seed=5)
    found = said(classifier, shown, tcav=QUICK)
    lines = found.lines
    assert [line.concept for line in lines] == list(SCHEME.concepts)
    assert found.model == "the model in colors_bottleneck"
    inputs = torch.stack([one.input for one in shown])
    assert found.right == pytest.approx(sum(classifier.logits(inputs).argmax(1) == targets(shown)) / 70)
    margins = scorer(classifier).logits(inputs)
    for j, line in enumerate(lines):
        assert one_of(shown, j).float().mean() == pytest.approx(line.holds)
        inside, outside = margins[one_of(shown, j), j], margins[~one_of(shown, j), j]
        assert line.area == pytest.approx(float((inside[:, None] > outside).double().mean()))
        assert line.area > 0.95
        assert line.fitted > 0.9
    module = classifier.module
    assert isinstance(module, Bottleneck)
    gap = margins[one_of(shown, 2), 2].mean() - margins[~one_of(shown, 2), 2].mean()
    expected = module.head.weight[:, 2].detach() * gap
    assert lines[2].effect.target == int(expected.abs().argmax())
    assert lines[2].effect.interval.mean == pytest.approx(float(expected[lines[2].effect.target]), rel=1e-4)


def targets(shown):
    return torch.tensor([one.target for one in shown])


def one_of(shown, concept):
    return torch.tensor([bool(one.parts.concepts[concept]) for one in shown])


def test_tcav_looks_at_the_bottleneck_where_the_model_in_it_has_other_classes():
    base = seeded(lambda: nn.Sequential(*list(General().children())[:-1], nn.Linear(32, 7))).eval()
    classifier = made(Classifier(base, preprocess=Preprocess(SIDE, SIDE), name="seven"))
    found = said(classifier, samples(40, seed=5), tcav=QUICK)
    assert found.model == "seven_bottleneck"
    for line in found.lines:
        assert 5 * line.tcav == pytest.approx(round(5 * line.tcav))  # the head is linear: 0 or 1 in each of 5 runs


def test_the_verb_prints_a_line_for_each_concept(monkeypatch, capsys):
    monkeypatch.setattr(concept_report, "only", lambda group, values: made() if group == "model" else Patches(30, 5))
    monkeypatch.setattr(concept_report, "TCAV", lambda seed: QUICK)
    verbs.run_verb("concepts", ["model=planted", "dataset=planted", "dataset.limit=20"])
    said_ = capsys.readouterr().out
    assert "Concepts of colors_bottleneck at layer 1, 20 samples of patches, 1" in said_
    for name in SCHEME.concepts:
        assert f"\n{name}" in said_
    assert "corrected for all concepts (Holm)" in said_


def test_what_cannot_be_said_is_refused_in_a_sentence():
    with pytest.raises(ConfigError, match="takes KEY=VALUE"):
        verbs.run_verb("concepts", ["--all"])
    with pytest.raises(ConfigError, match="the model has no concepts; choose a concept bottleneck"):
        verbs.run_verb("concepts", ["model=planted", "dataset=planted"])
    with pytest.raises(UnsupportedError, match="no concepts"):
        said(colors(), samples(3))
    bare = [type(one)(one.id, one.input, None, None, one.sources, parts=one.parts) for one in samples(3)]
    with pytest.raises(ConfigError, match="does not tell which class it has"):
        said(made(), bare)
    with pytest.raises(ConfigError, match="no samples"):
        said(made(), [])

"""The head of a concept bottleneck as a model: features are concepts, samples are read through the bottleneck."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from known_answers import normal, random
from torch import nn

import xaieval
from xaieval import views
from xaieval.attributions.input_x_gradient import InputXGradient
from xaieval.classifier import Classifier
from xaieval.collate import collate
from xaieval.concept_model import Bottleneck
from xaieval.concept_samples import ConceptEncoder
from xaieval.config import ConfigError, component, default
from xaieval.config import load as load_samples
from xaieval.datasets.base import Dataset, Sample, Samples
from xaieval.datasets.preprocess import DatasetError, Preprocess
from xaieval.datasets.reviews import Reviews
from xaieval.keys import key_of
from xaieval.laws.guards import untouched
from xaieval.laws.toys import Counting
from xaieval.leaderboard import leaderboards
from xaieval.metrics.cgim import CGIM
from xaieval.models import bottleneck_head
from xaieval.models.loading import ModelError
from xaieval.parts import Parts, Scheme
from xaieval.plan import Subject

SIDE, WIDTH, CONCEPTS, CLASSES = 8, 6, 4, 3
NAMES = ("beak: red", "beak: blue", "wing: long", "wing: short")
SCHEME = Scheme(("beak", "wing"), NAMES, (0, 0, 1, 1))
SHUFFLED = (2, 0, 3, 1)
"""The dataset tells the model's concepts in this order."""

TOLD = Scheme(("beak", "wing"), tuple(NAMES[place] for place in SHUFFLED), tuple(SHUFFLED[p] // 2 for p in range(4)))


def linear(given, out, seed):
    layer = nn.Linear(given, out)
    with torch.no_grad():
        layer.weight.copy_(normal(out, given, seed=seed))
        layer.bias.copy_(normal(out, seed=seed + 1))
    return layer


class Counted(Counting):
    """A convolution that counts its pictures."""

    def __init__(self):
        first = nn.Conv2d(3, WIDTH, 3, bias=False)
        with torch.no_grad():
            first.weight.copy_(normal(WIDTH, 3, 3, 3, seed=1) / 5)
        super().__init__(nn.Sequential(first, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(WIDTH, 2)))


def bottleneck(residual=False, base=None):
    module = Bottleneck(
        base or Counted(),
        "module.1",
        linear(WIDTH, CONCEPTS, 2),
        linear(CONCEPTS, CLASSES, 4),
        SCHEME,
        residual=linear(WIDTH, CLASSES, 6) if residual else None,
    )
    with torch.no_grad():  # margins around 0, so that not all pictures are of one class
        own, spread = module.features(pixels(30)), module.features(pixels(30)).std(0)
        module.margins.weight.div_(spread)
        module.margins.bias.copy_(-module.margins.weight @ own.mean(0))
        module.head.bias.zero_()
    preprocess = Preprocess(SIDE, SIDE)
    return Classifier(module, batch_size=4, name="toy", preprocess=preprocess, categories=["a", "b", "c"])


def picture(number, scheme=TOLD):
    holds = random(len(scheme.concepts), seed=50 + number) > 0.5
    holds[0], holds[1] = True, False
    centers, visible = torch.zeros(2, 2), torch.ones(2)
    parts = Parts(scheme, centers, visible, holds, torch.ones(2, SIDE, SIDE, dtype=torch.bool))
    mask = torch.ones(SIDE, SIDE, dtype=torch.bool)
    name = f"picture {number}"
    return Sample(name, random(3, SIDE, SIDE, seed=number), number % CLASSES, mask, (name, "herd"), parts=parts)


@dataclass(frozen=True)
class Pictures(Dataset):
    """Some pictures, drawn when they are indexed."""

    count: int = 6
    name: str = "pictures"

    def load(self, preprocess):
        assert preprocess == Preprocess(SIDE, SIDE)
        entries = [replace(picture(number), parts=None) for number in range(self.count)]
        return Samples(entries, lambda entry: picture(int(entry.id.split()[1])))


def head(**options):
    return bottleneck_head.load(bottleneck(**options))


def samples(model, count=6):
    return load_samples(Pictures(count), model)


def stacked(model, count=6, **options):
    content = list(samples(model, count))
    return model.explicand(ids=[sample.id for sample in content], **collate(content), **options)


def pixels(count=6):
    return torch.stack([picture(number).input for number in range(count)])


# -- what it computes --


def test_its_logits_are_the_bottlenecks():
    model = bottleneck()
    work = stacked(bottleneck_head.load(model))
    torch.testing.assert_close(work.logits, model.logits(pixels()))


def test_scores_are_the_margins():
    """From the layer's output by hand."""
    module = bottleneck().module
    features = module.base.module[:2](pixels()).mean((2, 3))
    margins = features @ module.margins.weight.T + module.margins.bias
    torch.testing.assert_close(stacked(head()).inputs[:, 0], margins.detach())


def test_local_importance():
    """`theta_jk u_ij` of the class explained."""
    model = bottleneck()
    work = stacked(bottleneck_head.load(model), target=[0, 1, 2, 0, 1, 2])
    theta = model.module.head.weight.detach()
    expected = torch.stack([theta[row % CLASSES] * work.inputs[row, 0] for row in range(6)])
    torch.testing.assert_close(InputXGradient()(work)[:, 0], expected)


def test_a_residual_head_is_left_out():
    model = bottleneck(residual=True)
    work = stacked(bottleneck_head.load(model))
    module = model.module
    torch.testing.assert_close(
        work.logits, model.logits(pixels()) - module.residual(module.features(pixels())).detach()
    )


# -- samples --


def test_a_sample_says_which_concepts_hold():
    """By name, whatever order the dataset tells them in; nothing is left of places in the picture."""
    for number, sample in enumerate(samples(head())):
        told = picture(number).parts
        held = {name for name, holds in zip(told.scheme.concepts, told.concepts.tolist(), strict=True) if holds}
        assert {name for name, holds in zip(NAMES, sample.mask.tolist(), strict=True) if holds} == held
        assert (sample.id, sample.target, sample.sources) == (f"picture {number}", number % 3, (sample.id, "herd"))
        assert (sample.parts, sample.world, sample.reading) == (None, None, None)
    assert head().modality.names == NAMES


def test_pictures_are_read_and_scored_when_they_are_indexed():
    base = Counted()
    model = bottleneck_head.load(bottleneck(base=base))
    found = samples(model)
    before = base.forwards
    assert found.ids == tuple(f"picture {number}" for number in range(6))
    some = found[3:5]
    assert base.forwards == before
    assert some[0].id == "picture 3"
    assert found[3] is some[0]
    assert base.forwards == before + 1
    _ = list(found)
    assert base.forwards == before + 6


def test_scores_do_not_depend_on_others():
    """To the last bit, as keys of kept results need."""
    alone, among = samples(head())[4], list(samples(head()))[4]
    assert torch.equal(alone.input, among.input)
    keys = [Subject.of(0, sample, "pictures", "predicted").key for sample in (alone, among)]
    assert keys[0] == keys[1] != key_of(a=1)


def test_reading_touches_no_model():
    model = bottleneck()
    with untouched(model.module):
        _ = list(samples(bottleneck_head.load(model)))


def test_without_concepts_there_is_no_mask():
    model = head()
    found = ConceptEncoder(bottleneck()).samples([replace(picture(0), parts=None)])
    assert found[0].mask is None
    assert model.preprocess.sample(found[0]) is found[0]


def test_a_concept_that_is_not_told_is_missed():
    scheme = Scheme(("beak", "wing"), ("beak: red", "beak: blue", "wing: long", "wing: tiny"), (0, 0, 1, 1))
    with pytest.raises(
        DatasetError, match="'picture 1': 1 of the 4 concepts of toy are not told, the first is 'wing: s"
    ):
        head().preprocess.sample(picture(1, scheme))


def test_texts_are_refused_by_the_bottleneck():
    with pytest.raises(DatasetError, match="reviews_seen holds texts, and the model takes images"):
        load_samples(Reviews(count=2), head())


# -- what is given --


def test_a_model_without_concepts_has_no_head():
    with pytest.raises(
        ModelError, match="Sequential has no concepts, so there is no head to take: give a concept bott"
    ):
        bottleneck_head.load(Classifier(nn.Sequential(nn.Flatten())))


def test_its_name_and_classes_are_the_bottlenecks():
    model = head()
    assert (model.name, model.categories) == ("toy_head", ("a", "b", "c"))


def test_it_is_built_from_a_node_or_by_name():
    node = {"_target_": "xaieval.models.bottleneck_head.load", "bottleneck": {"_target_": f"{__name__}.bottleneck"}}
    assert component("model", node, "model.head").name == "toy_head"
    with pytest.raises(ConfigError, match="there is no model 'none'"):
        bottleneck_head.load("none")
    with pytest.raises(ConfigError, match="bottleneck has no default"):
        default("model", "bottleneck_head")


def test_weights_are_its_own():
    """What is done to the head is not done to the bottleneck."""
    model = bottleneck()
    made = bottleneck_head.load(model)
    with torch.no_grad():
        made.module.get_parameter("1.weight").zero_()
    assert float(model.module.head.weight.detach().abs().sum()) > 0


# -- a whole run --


def test_a_run_and_its_table():
    """Every cell of `evaluate` on pictures, and CEM and CGIM by hand from whole matrices."""
    model, count = bottleneck(), 30
    made = bottleneck_head.load(model)
    rows = xaieval.evaluate(
        made,
        Pictures(count),
        methods=["input_x_gradient", "gradient", "integrated_gradients", "random", "constant"],
        metrics=["cem", "cem_1", "cem_3", "cgim", "cgim_scores", "deletion"],
        target="label",
        progress=False,
    )
    assert rows["error"].isna().all()
    assert len(rows) == count * 5 * 6
    theta = model.module.head.weight.detach().double().numpy()
    given = list(samples(made, count))
    scores = np.stack([sample.input[0].double().numpy() for sample in given])
    holds = np.stack([sample.mask.numpy() for sample in given])
    local = np.stack([theta[row % CLASSES] * scores[row] for row in range(count)])
    cem = [held[place] for held, place in zip(holds, local.argmax(1), strict=True)]
    own = rows[(rows["method"] == "input_x_gradient") & (rows["metric"] == "cem_1")]
    assert own["score"].tolist() == [float(value) for value in cem]
    (table,) = leaderboards(rows)
    assert len(set((scores @ theta.T).argmax(1))) == CLASSES
    shown = table.frame().query("method == 'input_x_gradient' and metric == 'cgim'")["mean"].item()
    work = stacked(made, count, target=[row % CLASSES for row in range(count)])
    assert shown == pytest.approx(CGIM().aggregate(CGIM()(work, InputXGradient()(work)).double()))


def test_samples_of_pictures_are_scored_first():
    rows = [
        xaieval.evaluate(head(), given, ["input_x_gradient"], ["cem_3"], progress=False)["score"].tolist()
        for given in (Pictures(), [picture(number) for number in range(6)], list(samples(head())))
    ]
    assert rows[0] == rows[1] == rows[2]


# -- verbs --


def choose(monkeypatch):
    made = {"model": head(), "dataset": Pictures()}
    monkeypatch.setattr(views, "only", lambda group, values: made[group])


def test_it_has_no_spatial_layers(monkeypatch, capsys):
    choose(monkeypatch)
    views.layers([])
    assert "toy_head, an input of 1 x 4: 0 of 0 spatial layers" in capsys.readouterr().out


def test_it_draws_no_sheet(monkeypatch):
    choose(monkeypatch)
    with pytest.raises(ConfigError, match="toy_head takes the scores of concepts: draw the maps of toy"):
        views.sheet(["method=gradient"])

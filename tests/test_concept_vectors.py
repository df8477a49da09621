"""Concept vectors: known normals, margins as scikit-learn says, and what is refused."""

import numpy as np
import pytest
import torch
from concept_toys import SCHEME, Patches, colors, samples
from sklearn.linear_model import LogisticRegression
from sklearn.svm import SVC

from xaieval.classifier import Classifier
from xaieval.concept_vectors import KINDS, Fitting, layer_of, pooled, seen
from xaieval.laws.toys import General, images, seeded
from xaieval.modalities.texts import Texts
from xaieval.models.loading import ModelError
from xaieval.unsupported import UnsupportedError


def parted(count=400, width=3):
    """Features that a plane with a known normal parts, well apart."""
    random = torch.Generator().manual_seed(0)
    normal = torch.tensor([3.0, 0.0, 4.0]) / 5
    features = torch.randn(count, width, generator=random)
    distance = features @ normal - 0.5
    features = features + torch.sign(distance)[:, None] * normal  # nothing within 1 of the plane
    return features, (distance > 0)[:, None], normal.double()


@pytest.mark.parametrize("kind", KINDS)
def test_a_known_normal_is_found(kind):
    features, holds, normal = parted()
    found = Fitting(kind, C=10).vectors(features, holds, ["a"])
    assert float(found.vectors[0] @ normal) > 0.99
    assert float(found.vectors.norm(dim=1)) == pytest.approx(1)
    if kind == "svm":  # the widest gap
        assert float(found.intercepts) == pytest.approx(-0.5, abs=0.1)
        assert float(found.accuracy) > 0.99


@pytest.mark.parametrize(
    ("kind", "model"), [("svm", SVC(kernel="linear", C=0.1)), ("logistic", LogisticRegression(C=0.1))]
)
def test_margins_are_distances_to_the_plane_of_scikit_learn(kind, model):
    features, holds, _ = parted()
    order = torch.cat((holds[:, 0].nonzero()[:100, 0], (~holds[:, 0]).nonzero()[:100, 0]))  # as many of both
    features, holds = features[order], holds[order]
    scale = float(features.double().var(0, correction=0).mean().sqrt())
    model.fit(features.double().numpy() / scale, holds[:, 0].numpy())
    expected = model.decision_function(features.double().numpy() / scale) / np.linalg.norm(model.coef_) * scale
    margins = Fitting(kind).vectors(features, holds, ["a"]).margins(features)[:, 0]
    assert np.allclose(margins.numpy(), expected, atol=1e-3 if kind == "logistic" else 1e-6)


def test_the_difference_of_means_in_closed_form():
    features = torch.tensor([[0.0, 0.0], [0.0, 2.0], [4.0, 0.0], [4.0, 2.0], [5.0, 1.0], [3.0, 1.0]])
    holds = torch.tensor([False, False, True, True, True, True])[:, None]
    found = Fitting("difference", folds=2).vectors(features, holds, ["a"])
    assert torch.allclose(found.vectors, torch.tensor([[1.0, 0.0]], dtype=torch.float64))
    assert torch.allclose(found.intercepts, torch.tensor([-2.0], dtype=torch.float64))
    assert found.accuracy.tolist() == [1.0]


@pytest.mark.parametrize("kind", KINDS)
def test_scaled_features_scale_margins_and_nothing_else(kind):
    features, holds, _ = parted()
    one, other = (Fitting(kind).vectors(scale * features, holds, ["a"]) for scale in (1, 1 / 64))
    assert torch.allclose(one.vectors, other.vectors, atol=1e-4)
    assert torch.allclose(one.margins(features) / 64, other.margins(features / 64), atol=1e-4)
    assert torch.equal(one.accuracy, other.accuracy)


def test_accuracy_is_cross_validated_and_says_chance_of_labels_at_random():
    random = torch.Generator().manual_seed(1)
    features, holds = torch.randn(90, 40, generator=random), torch.rand(90, 1, generator=random) < 0.25
    found = Fitting("svm", C=100).vectors(features, holds, ["a"])
    assert bool(((found.margins(features) > 0) == holds).float().mean() > 0.9)  # learned by heart
    assert abs(float(found.accuracy) - 0.5) < 0.15


def test_samples_of_each_side_are_drawn_by_the_seed():
    features, holds, _ = parted()
    one, same, other, all_ = (
        Fitting("difference", samples=count, seed=seed).vectors(features, holds, ["a"]).vectors
        for count, seed in ((50, 0), (50, 0), (50, 1), (None, 0))
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert not torch.equal(one, all_)


def test_few_samples_have_vectors_but_no_accuracy():
    features, holds = torch.tensor([[0.0], [1.0], [2.0]]), torch.tensor([[False], [False], [True]])
    found = Fitting("svm").vectors(features, holds, ["a"])
    assert found.accuracy.isnan().all()


def test_what_cannot_be_fitted_is_named():
    features, holds, _ = parted(20)
    with pytest.raises(ModelError, match=r"'b' never holds, 'c' always holds: give more samples"):
        Fitting().vectors(features, torch.cat((holds, holds & False, holds | True), 1), ["a", "b", "c"])
    with pytest.raises(ModelError, match="'a' moves the layer's features nowhere"):
        Fitting("difference").vectors(torch.ones(20, 3), holds, ["a"])
    for options, what in (({"kind": "x"}, "svm, logistic, difference"), ({"C": 0}, "positive"), ({"samples": 0}, "1")):
        with pytest.raises(ValueError, match=what):
            Fitting(**options)


def test_scikit_learn_is_asked_for(monkeypatch):
    features, holds, _ = parted(20)
    monkeypatch.setattr("xaieval.models.loading.find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r"xaieval\[concepts\]"):
        Fitting().vectors(features, holds, ["a"])


def test_features_of_samples_are_means_over_places():
    classifier = colors()
    found = seen(classifier, samples(70), "1")
    inputs = torch.stack([sample.input for sample in samples(70)])
    module = classifier.module.eval()
    assert torch.allclose(found.features, module[1](module[0](inputs)).mean((2, 3)), atol=1e-6)
    assert torch.allclose(seen(classifier, samples(70), "3").features, found.features, atol=1e-6)
    assert found.scheme == SCHEME
    assert found.concepts.shape == (70, 3)
    assert found.target.tolist() == [sample.target for sample in samples(70)]
    assert pooled(inputs).shape == (70, 3)


def test_colors_are_found_at_the_layer():
    found = seen(colors(), samples(80), "1")
    vectors = Fitting(C=100).vectors(found.features, found.concepts, SCHEME.concepts)
    assert bool((vectors.accuracy > 0.95).all())


def test_samples_without_concepts_are_refused():
    with pytest.raises(ModelError, match="got none"):
        seen(colors(), [], "1")
    bare = [type(one)(one.id, one.input, one.target, None, one.sources) for one in Patches(3).load(colors().preprocess)]
    with pytest.raises(ModelError, match="does not tell which concepts hold"):
        seen(colors(), bare, "1")


def test_the_layer_before_pooling_is_read():
    assert layer_of(colors(), images(), None) == "1"
    assert layer_of(colors(), images(), "0") == "0"
    assert layer_of(Classifier(seeded(General)), images(), None) == "6"
    with pytest.raises(UnsupportedError, match="takes texts"):
        layer_of(Classifier(seeded(General), modality=Texts()), images(), None)

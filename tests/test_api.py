"""The library in one line: `explain` and `evaluate`."""

import subprocess
import sys

import captum.attr
import pandas as pd
import pytest
import torch
from projects import make_project
from torch import nn

import xaieval
from xaieval import Classifier, evaluate, explain
from xaieval.attributions.gradient import Gradient
from xaieval.attributions.random import Random
from xaieval.attributions.smoothgrad import SmoothGrad
from xaieval.config import ConfigError
from xaieval.datasets.folder import Folder
from xaieval.datasets.preprocess import Preprocess
from xaieval.metrics.insertion import Insertion
from xaieval.metrics.relevance_rank import RelevanceRank


@pytest.fixture
def module():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Softplus(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))


@pytest.fixture
def images():
    return torch.rand(4, 3, 12, 12, generator=torch.Generator().manual_seed(0))


def test_explain_by_name_instance_class_and_function(module, images):
    def own(model, inputs, target):
        inputs.requires_grad_()
        return torch.autograd.grad(model(inputs).gather(1, target[:, None]).sum(), inputs)[0]

    explicand = Classifier(module).explicand(images, 1)
    for method in ("gradient", Gradient(), Gradient, own, captum.attr.Saliency):
        expected = explicand.gradient.abs() if method is captum.attr.Saliency else explicand.gradient
        torch.testing.assert_close(explain(module, images, method, target=1), expected)


def test_explain_takes_a_classifier_and_one_image(module, images):
    classifier = Classifier(module, mean=[0.5] * 3, std=[0.2] * 3)
    one = explain(classifier, images[0], "gradient", target=2)
    torch.testing.assert_close(one, classifier.explicand(images[:1], 2).gradient)


def test_explain_takes_the_predicted_class(module, images):
    torch.testing.assert_close(explain(module, images), explain(module, images, target=module(images).argmax(1)))


def test_an_unknown_method_is_said(module, images):
    with pytest.raises(ConfigError, match="there is no method 'sobbol'; did you mean sobol"):
        explain(module, images, "sobbol")


def test_evaluate_images(module, images):
    masks = images.mean(1) > 0.5
    rows = evaluate(
        module,
        images,
        methods=["gradient", SmoothGrad(samples=3), Random(seed=1)],
        metrics=[Insertion(grid=4, steps=4), RelevanceRank()],
        masks=masks,
        ids=list("abcd"),
        progress=False,
    )
    assert len(rows) == 4 * 3 * 2
    assert list(rows["method"].unique()) == ["gradient", "smoothgrad", "random"]
    assert list(rows["metric"].unique()) == ["insertion", "relevance_rank"]
    assert rows["score"].notna().all()
    explicand = Classifier(module).explicand(images, ids=list("abcd"), mask=masks)
    expected = RelevanceRank()(explicand, Random(seed=1)(explicand))
    found = rows[(rows["method"] == "random") & (rows["metric"] == "relevance_rank")]["score"]
    torch.testing.assert_close(torch.tensor(found.to_numpy()), expected.double())


def test_evaluate_explains_the_given_classes(module, images):
    rows = evaluate(module, images, ["gradient"], [Insertion(grid=4)], target=[2, 0, 1, 2], progress=False)
    assert rows["target"].tolist() == [2, 0, 1, 2]
    rows = evaluate(module, images, ["gradient"], [Insertion(grid=4)], target=1, progress=False)
    assert rows["target"].tolist() == [1] * 4


def test_evaluate_a_dataset(module, tmp_path):
    folder = Folder(str(make_project(tmp_path) / "pictures"))
    classifier = Classifier(module, preprocess=Preprocess(12, 12), name="toy")
    methods, metrics = {"mine": Gradient()}, {"ins": Insertion(grid=4)}
    rows = evaluate(classifier, folder, methods, metrics, store=tmp_path / "store", progress=False)
    assert set(rows["dataset"]) == {"pictures"}
    assert set(rows["method"]) == {"mine"}
    again = evaluate(classifier, folder, methods, metrics, store=tmp_path / "store", progress=False)
    pd.testing.assert_frame_equal(rows, again)
    with pytest.raises(ConfigError, match="does not say how a picture becomes an input"):
        evaluate(module, folder, methods, metrics, progress=False)


def test_evaluate_warns_of_failed_cells(module, images):
    def broken(model, inputs, target):
        raise ArithmeticError("no such map")

    with pytest.warns(UserWarning, match="4 of 8 cells failed"):
        rows = evaluate(module, images, ["gradient", broken], [Insertion(grid=4)], progress=False)
    assert rows[rows["method"] == "broken"]["error"].str.contains("no such map").all()


def test_evaluate_refuses_what_it_cannot_tell_apart(module, images):
    with pytest.raises(ValueError, match="two methods are called 'smoothgrad': name them"):
        evaluate(module, images, [SmoothGrad(samples=2), SmoothGrad(samples=3)], ["insertion"], progress=False)
    with pytest.raises(TypeError, match=r"write \['sobol'\]"):
        evaluate(module, images, "sobol", ["insertion"], progress=False)
    with pytest.raises(TypeError, match="a metric is a name"):
        evaluate(module, images, ["gradient"], [len], progress=False)
    with pytest.raises(ValueError, match="masks must be given for each of the 4 images, got 3"):
        evaluate(module, images, ["gradient"], ["insertion"], masks=torch.ones(3, 12, 12), progress=False)
    with pytest.raises(ValueError, match="target='label' takes the labels of a dataset"):
        evaluate(module, images, ["gradient"], ["insertion"], target="label", progress=False)


def test_the_package_is_light_until_it_is_used():
    code = (
        "import sys, xaieval; assert 'torch' not in sys.modules; from xaieval import explain; assert callable(explain)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = xaieval.nothing

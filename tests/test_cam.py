"""What all class activation methods share: the layer they read, and what reading it costs."""

from dataclasses import replace

import pytest
from known_answers import random
from networks import assert_close, explained, network

from xaieval.attributions.ablation_cam import AblationCAM
from xaieval.attributions.eigen_cam import EigenCAM
from xaieval.attributions.grad_cam import GradCAM
from xaieval.attributions.grad_cam_plus_plus import GradCAMPlusPlus
from xaieval.attributions.hires_cam import HiResCAM
from xaieval.attributions.layer_cam import LayerCAM
from xaieval.attributions.score_cam import ScoreCAM
from xaieval.attributions.xgrad_cam import XGradCAM

FAMILY = (GradCAM(), GradCAMPlusPlus(), XGradCAM(), HiResCAM(), LayerCAM(), EigenCAM(), ScoreCAM(), AblationCAM())


def at(method, layer):
    return replace(method, layers=(layer,)) if isinstance(method, LayerCAM) else replace(method, layer=layer)


@pytest.mark.parametrize("method", FAMILY, ids=str)
def test_the_default_layer_is_the_last_spatial_one(method):
    inputs = random(3, 3, 16, 20)
    assert_close(method(explained(network(), inputs)), at(method, "3")(explained(network(), inputs)), 1e-6)


@pytest.mark.parametrize("method", FAMILY, ids=str)
def test_wrong_layers_are_told(method):
    explicand = explained(network())
    with pytest.raises(ValueError, match="has no layer 'features'; close names"):
        at(method, "features")(explicand)
    with pytest.raises(ValueError, match=r"layer '6' gives \(3, 5\), expected a spatial output"):
        at(method, "6")(explicand)


def test_methods_that_read_one_layer_read_it_once():
    explicand = explained(network())
    for method in (GradCAM(), GradCAMPlusPlus(), XGradCAM(), HiResCAM(), LayerCAM()):
        method(explicand)
    assert explicand.cost[:2] == (1, 1)
    EigenCAM()(explicand)  # needs no gradient, and pays for none whoever ran before
    assert explicand.cost[:2] == (2, 1)

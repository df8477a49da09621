"""What methods say of the sign of their scores."""

from dataclasses import dataclass

import pytest
import torch
from text_models import Attending, present, text

from xaieval.adapters import as_method
from xaieval.attributions.ablation_cam import AblationCAM
from xaieval.attributions.grad_cam import GradCAM
from xaieval.attributions.gradient import Gradient
from xaieval.attributions.hires_cam import HiResCAM
from xaieval.attributions.input_x_gradient import InputXGradient
from xaieval.attributions.meta_saliency import MetaSaliency
from xaieval.attributions.normgrad import NormGrad
from xaieval.attributions.permuted import Permuted
from xaieval.attributions.rise import RISE
from xaieval.attributions.smoothgrad import SmoothGrad
from xaieval.attributions.sobol import Sobol
from xaieval.attributions.xgrad_cam import XGradCAM
from xaieval.component import Method
from xaieval.laws import composed
from xaieval.laws.components import SMALL, limited
from xaieval.laws.toys import SIDE, General, Smooth, Transformer, explicand, seeded
from xaieval.unsupported import UnsupportedError

UNSIGNED = {name: method for name, method in composed("method") if not method.signed}


def toys():
    mask = torch.zeros(3, SIDE, SIDE, dtype=torch.bool)
    mask[:, 2:7, 3:9] = True
    for network in (General, Smooth, Transformer):
        yield explicand(seeded(network), mask=mask)
    yield text(seeded(Attending), mask=present(), target=[0, 1, 2])


@pytest.mark.parametrize("name", UNSIGNED)
def test_what_is_not_signed_has_no_negative_score(name):
    supported = 0
    for work in toys():
        try:
            maps = limited(UNSIGNED[name], SMALL)(work)
        except UnsupportedError:
            continue
        supported += 1
        assert bool((maps >= 0).all())
    assert supported


@pytest.mark.parametrize(
    ("method", "signed"),
    [
        (Gradient(), True),
        (Gradient("max"), False),
        (InputXGradient(), True),
        (SmoothGrad(variant="squared"), False),
        (SmoothGrad(method=Gradient("max")), False),
        (MetaSaliency(method=InputXGradient()), True),
        (MetaSaliency(), False),
        (Permuted(NormGrad()), False),
        (RISE(), False),
        (RISE(score="logit"), True),
        (Sobol(), False),
        (Sobol(signed=True), True),
        (NormGrad(aggregation="sum"), True),
        (NormGrad(("0", "4"), aggregation="sum"), False),
        *((kind(relu=relu), not relu) for kind in (GradCAM, XGradCAM, HiResCAM, AblationCAM) for relu in (True, False)),
        (as_method(lambda model, inputs, target: inputs, units="importance"), True),
    ],
    ids=lambda value: repr(value).partition(" at 0x")[0],  # an address is another in each process
)
def test_the_sign_follows_from_the_options(method, signed):
    assert method.signed is signed


def test_importance_has_no_sign_if_nobody_says_so():
    @dataclass(frozen=True)
    class Mine(Method):
        units: str = "importance"  # type: ignore[misc]

    assert not Mine().signed
    assert Mine("contribution").signed
    assert not Mine().whole_order

"""Ledgers: what was paid, and what each would have cost alone."""

import time

import pytest
import torch
from known_answers import Smooth, bind, random

from xaieval.attributions.gradient import Gradient
from xaieval.attributions.smoothgrad import SmoothGrad
from xaieval.cost import Cost, Ledger, Meter
from xaieval.metrics.deletion import Deletion
from xaieval.metrics.infidelity import Infidelity
from xaieval.metrics.insertion import Insertion
from xaieval.metrics.mu_fidelity import MuFidelity

CPU = torch.device("cpu")


@pytest.fixture
def meter():
    return Meter(CPU)


def evaluations(cost):
    return (cost.forwards, cost.backwards)


def shared(meter, forwards, uses=()):
    """Something shared that costs so many forwards and uses other shared things."""
    with meter.making() as ledger:
        for other in uses:
            meter.use(other)
        meter.spend(forwards)
    meter.use(ledger)
    return ledger


def test_costs_add_and_divide():
    assert Cost(1, 2, 3).plus(Cost(10, 20, 30)) == Cost(11, 22, 33)
    assert Cost(6, 3, 1.5).per(3) == Cost(2, 1, 0.5)


def test_own_work_is_paid_and_standalone(meter):
    with meter.ledger() as ledger:
        meter.spend(3)
        meter.spend(2, 2)
    assert evaluations(ledger.paid) == evaluations(ledger.standalone) == (5, 2)
    assert (meter.forwards, meter.backwards) == (5, 2)


def test_a_shared_thing_is_paid_once_and_stands_in_every_cost(meter):
    with meter.ledger() as first:
        meter.spend(1)
        made = shared(meter, 10)
    with meter.ledger() as second:
        meter.spend(2)
        meter.use(made)
        meter.use(made)
    assert evaluations(first.paid) == (11, 0)
    assert evaluations(second.paid) == (2, 0)
    assert evaluations(first.standalone) == (11, 0)
    assert evaluations(second.standalone) == (12, 0)


def test_what_shared_things_use_counts_once(meter):
    with meter.ledger() as before:
        clean = shared(meter, 1)
    with meter.ledger() as ledger:
        response = shared(meter, 100, uses=[clean])
        meter.use(clean)
    with meter.ledger() as after:
        curve = shared(meter, 13, uses=[clean])
        meter.use(response)
        meter.use(curve)
    assert evaluations(before.paid) == (1, 0)
    assert evaluations(ledger.paid) == (100, 0)
    assert evaluations(ledger.standalone) == (101, 0)
    assert evaluations(after.paid) == (13, 0)
    assert evaluations(after.standalone) == (114, 0)


def test_a_shared_thing_made_inside_another_is_paid_and_not_owned_by_it(meter):
    with meter.ledger() as ledger, meter.making() as outer:
        meter.spend(3)
        inner = shared(meter, 5)
    assert evaluations(outer.own) == (3, 0)
    assert evaluations(outer.paid) == (8, 0)
    assert evaluations(outer.standalone) == (8, 0)
    assert evaluations(inner.standalone) == (5, 0)
    assert evaluations(ledger.paid) == (8, 0)


def test_an_inner_ledger_counts_for_the_outer_one(meter):
    with meter.ledger() as outer:
        meter.spend(1)
        with meter.ledger() as inner:
            meter.spend(4, 4)
            made = shared(meter, 10)
    assert evaluations(inner.paid) == (14, 4)
    assert evaluations(outer.paid) == (15, 4)
    assert evaluations(outer.standalone) == (15, 4)
    assert made in outer.made


def test_a_ledger_is_closed_by_an_exception(meter):
    def fails():
        with meter.ledger(), meter.making():
            meter.spend(1)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fails()
    with meter.ledger() as ledger:
        meter.spend(2)
    assert evaluations(ledger.paid) == (2, 0)
    assert meter.forwards == 3


def test_seconds_are_those_of_the_block_without_the_shared_part(meter):
    with meter.ledger() as ledger:
        time.sleep(0.02)
        with meter.making() as made:
            time.sleep(0.05)
        meter.use(made)
    assert 0.02 <= ledger.own.seconds < 0.045
    assert 0.05 <= made.own.seconds < 0.09
    assert ledger.paid.seconds == pytest.approx(ledger.own.seconds + made.own.seconds)
    assert ledger.standalone.seconds == pytest.approx(ledger.paid.seconds)


def test_a_known_cost_of_an_earlier_run_is_used_and_not_paid(meter):
    known = Ledger.known(meter.clock, Cost(200, 0, 1.5))
    with meter.ledger() as ledger:
        meter.use(known)
    assert evaluations(ledger.paid) == (0, 0)
    assert ledger.standalone[:2] == (200, 0)
    assert ledger.standalone.seconds == pytest.approx(1.5, abs=0.01)


# -- what an explicand books --


def test_cost_is_per_sample_and_a_gradient_is_one_of_each():
    explicand = bind(Smooth(), random(3, 3, 8, 8), target=0)
    assert evaluations(explicand.cost) == (0, 0)
    assert evaluations(bind(Smooth(), random(3, 3, 8, 8), target=None).cost) == (1, 0)
    explicand.clean, explicand.gradient  # noqa: B018
    assert evaluations(explicand.cost) == (2, 1)
    explicand.clean, explicand.gradient  # noqa: B018
    assert evaluations(explicand.cost) == (2, 1)
    explicand.activations(())
    assert evaluations(explicand.cost) == (3, 2)


def test_copies_and_wrapped_methods_book_to_their_parent():
    explicand = bind(Smooth(), random(2, 3, 8, 8), target=0)
    method = SmoothGrad(samples=5, method=SmoothGrad(samples=3))
    with explicand.meter.ledger() as ledger:
        method(explicand)
    assert evaluations(ledger.paid) == evaluations(ledger.standalone) == (2 * 15, 2 * 15)
    assert evaluations(explicand.cost) == (15, 15)


def test_metrics_that_share_a_response():
    explicand = bind(Smooth(), random(2, 3, 8, 8), target=0)
    attribution = Gradient()(explicand)
    costs = []
    for metric in (Infidelity(samples=10), MuFidelity(samples=10)):
        with explicand.meter.ledger() as ledger:
            metric(explicand, attribution)
        costs.append((evaluations(ledger.paid), evaluations(ledger.standalone)))
    assert costs == [((2 * 11, 0), (2 * 11, 0)), ((0, 0), (2 * 11, 0))]  # ten draws and the clean score


def test_curves_share_their_end_points():
    explicand = bind(Smooth(), random(2, 3, 8, 8), target=0)
    attribution = Gradient()(explicand)
    costs = []
    for metric in (Deletion(steps=6), Insertion(steps=6), Deletion(steps=6), Deletion(steps=6, output="logit")):
        with explicand.meter.ledger() as ledger:
            metric(explicand, attribution)
        costs.append((ledger.paid.forwards, ledger.standalone.forwards))
    assert costs == [(2 * 7, 2 * 7), (2 * 5, 2 * 7), (0, 2 * 7), (0, 2 * 7)]


def test_an_attribution_carries_what_it_would_cost_alone():
    explicand = bind(Smooth(), random(2, 3, 8, 8), target=0)
    explicand.gradient  # noqa: B018
    assert explicand.evaluations_of(Gradient()(explicand)) == 1
    assert explicand.evaluations_of(SmoothGrad(samples=4)(explicand)) == 4
    assert explicand.evaluations_of(torch.ones(2, 1, 8, 8)) is None

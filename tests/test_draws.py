"""Draws depend on their key alone."""

import hashlib

import pytest
import torch

from xaieval.draws import Draws, seed_of

CPU = torch.device("cpu")


def test_seeds_are_blake2b_of_the_parts():
    digest = hashlib.blake2b(b"0\x1fcat\x1f\x1fnoise\x1f3", digest_size=8).digest()
    assert seed_of(0, "cat", "", "noise", 3) == int.from_bytes(digest, "big") // 2
    assert 0 <= seed_of("anything") < 2**63


@pytest.mark.parametrize("parts", [(0, "ab", "c"), (0, "a", "bc"), ("0", "abc"), (0, "abc", ""), (1, "ab", "c")])
def test_seeds_of_other_parts_differ(parts):
    assert seed_of(0, "a", "b", "c") != seed_of(*parts)


@pytest.mark.parametrize("name", ["normal", "uniform"])
def test_a_draw_is_that_of_a_generator_with_its_seed(name):
    keys = [(0, "cat", "", "noise", variant) for variant in range(3)]
    values = getattr(Draws(CPU), name)((2, 5), keys)
    make = {"normal": torch.randn, "uniform": torch.rand}[name]
    expected = [make(2, 5, generator=torch.Generator().manual_seed(seed_of(*key))) for key in keys]
    assert torch.equal(values, torch.stack(expected))
    assert values.dtype == torch.float32


def test_a_draw_does_not_depend_on_what_was_drawn_before_or_beside():
    draws, keys = Draws(CPU), [(0, "cat", variant) for variant in range(4)]
    together = draws.normal((3,), keys)
    draws.uniform((100,), keys)
    assert torch.equal(together[2:3], draws.normal((3,), keys[2:3]))
    assert torch.equal(together, Draws(CPU).normal((3,), keys[::-1]).flip(0))


def test_a_meta_device_gets_the_shape_without_values():
    values = Draws(torch.device("meta")).normal((2, 3), [(0, "cat")])
    assert values.is_meta
    assert values.shape == (1, 2, 3)


def test_nobody_elses_default_type_matters():
    torch.set_default_dtype(torch.float64)
    try:
        assert Draws(CPU).normal((2,), [(0,)]).dtype == torch.float32
    finally:
        torch.set_default_dtype(torch.float32)

"""What every metric promises, as functions of a metric with settings for images of 8 x 8; each test file runs all."""

import dataclasses
from pathlib import Path

import torch
from hydra.utils import instantiate
from known_answers import Smooth, bind, ids, normal, random
from omegaconf import DictConfig, OmegaConf
from torch.utils._python_dispatch import TorchDispatchMode

from xaieval.attributions.gradient import Gradient

COUNT, SIDE = 5, 8
METHOD = Gradient()


def maps(metric, seed=1):
    """Signed maps of each shape that the metric accepts, with their units."""
    channels = {"gradient": 3, "contribution": 3, "importance": 1}
    return [(normal(COUNT, channels[units], SIDE, SIDE, seed=seed), units) for units in metric.accepts]


def explicand(batch_size=8, rows=tuple(range(COUNT)), present=None, device="cpu"):
    rows = list(rows)
    mask = random(COUNT, SIDE, SIDE, seed=7) > 0.85
    names = [ids(COUNT)[row] for row in rows]
    return bind(
        Smooth().to(device),
        random(COUNT, 3, SIDE, SIDE)[rows].to(device),
        batch_size=batch_size,
        ids=names,
        mask=mask[rows].to(device),
        present=None if present is None else present[rows],
    )


def values(metric, where, attribution, units):
    return metric(where, attribution, METHOD, units)


def same(first, second, tolerance=1e-5):
    torch.testing.assert_close(first, second, rtol=tolerance, atol=tolerance, equal_nan=True)


class NoHost(TorchDispatchMode):
    """Raises where the host would have to wait for the device."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        if name in ("_local_scalar_dense", "nonzero", "equal", "_unique2", "masked_select"):
            raise AssertionError(f"{name} waits for the device")
        return function(*args, **(kwargs or {}))


def one_value_per_sample_within_bounds(metric):
    low, high = metric.bounds
    for attribution, units in maps(metric):
        found = values(metric, explicand(), attribution, units)
        assert found.shape == (COUNT,)
        assert found.dtype == torch.float32
        assert ((found >= low) & (found <= high)).all()


def runs_on_meta(metric):
    for attribution, units in maps(metric):
        found, reasons = metric.evaluate(explicand(device="meta"), attribution.to("meta"), METHOD, units)
        assert found.shape == (COUNT,)
        assert found.is_meta
        assert all(where.shape == (COUNT,) and where.dtype == torch.bool for where in reasons.values())


def never_asks_the_host(metric):
    for attribution, units in maps(metric):
        where = explicand()
        with NoHost():
            values(metric, where, attribution, units)


def same_in_any_batch(metric):
    for attribution, units in maps(metric):
        found = [values(metric, explicand(size), attribution, units) for size in (1, 2, 7, 64)]
        for other in found[1:]:
            same(found[0], other)


def same_beside_any_neighbor(metric):
    rows = [4, 2, 0]
    for attribution, units in maps(metric):
        whole = values(metric, explicand(), attribution, units)
        same(whole[rows], values(metric, explicand(rows=rows), attribution[rows], units))
        same(whole[3:4], values(metric, explicand(rows=[3]), attribution[3:4], units))


def same_with_any_layout(metric):
    for attribution, units in maps(metric):
        strided = attribution.transpose(2, 3).contiguous().transpose(2, 3)
        assert attribution.shape[2] == 1 or not strided.is_contiguous()
        same(values(metric, explicand(), attribution, units), values(metric, explicand(), strided, units))


def same_at_any_scale(metric):
    """Not for metrics that explain again, which compare a map with the method's own."""
    if metric.needs == ("method",):
        return
    for attribution, units in maps(metric):
        for scale in (1e-12, 1e6):
            same(
                values(metric, explicand(), attribution, units), values(metric, explicand(), scale * attribution, units)
            )


def leaves_everything_as_it_was(metric):
    for attribution, units in maps(metric):
        where, copy, state = explicand(), attribution.clone(), torch.get_rng_state()
        inputs = where.inputs.clone()
        values(metric, where, attribution, units)
        assert torch.equal(attribution, copy)
        assert torch.equal(where.inputs, inputs)
        assert torch.equal(torch.get_rng_state(), state)


def undefined_maps_are_nan_and_leave_neighbors_alone(metric):
    for attribution, units in maps(metric):
        clean = values(metric, explicand(), attribution, units)
        bad = attribution.clone()
        bad[0] = 0
        bad[1, :, 3, 3] = torch.nan
        bad[2, :, 3, 3] = torch.inf
        found, reasons = metric.evaluate(explicand(), bad, METHOD, units)
        assert found.isnan().tolist() == [True, True, True, False, False]
        assert reasons["zero attribution"].tolist() == [True, False, False, False, False]
        assert reasons["attribution not finite"].tolist() == [False, True, True, False, False]
        same(found[3:], clean[3:])


def absent_features_change_nothing(metric):
    present = torch.ones(COUNT, SIDE, SIDE, dtype=torch.bool)
    present[:, :, 6:] = False
    for attribution, units in maps(metric):
        loud = attribution.clone()
        loud[..., 6:] += 100
        found = [values(metric, explicand(present=present), scores, units) for scores in (attribution, loud)]
        assert found[0].isfinite().all()
        same(*found) if metric.needs != ("method",) else None
        assert not torch.allclose(found[0], values(metric, explicand(), loud, units))


def same_without_absent_features_and_where_all_are_present(metric):
    everything = torch.ones(COUNT, SIDE, SIDE, dtype=torch.bool)
    for attribution, units in maps(metric):
        same(
            values(metric, explicand(present=everything), attribution, units),
            values(metric, explicand(), attribution, units),
        )


def yaml_holds_the_defaults(metric):
    stem = type(metric).__module__.rpartition(".")[2]
    path = Path(__file__).parents[1] / "conf" / "metric" / f"{stem}.yaml"
    config = OmegaConf.merge(OmegaConf.create({"seed": 0, "removal": "zero"}), OmegaConf.load(path))
    assert isinstance(config, DictConfig)
    assert instantiate(config[stem], _convert_="all") == type(metric)()
    assert set(config[stem]) - {"_target_"} == {field.name for field in dataclasses.fields(metric)}


PROMISES = (
    one_value_per_sample_within_bounds,
    runs_on_meta,
    never_asks_the_host,
    same_in_any_batch,
    same_beside_any_neighbor,
    same_with_any_layout,
    same_at_any_scale,
    leaves_everything_as_it_was,
    undefined_maps_are_nan_and_leave_neighbors_alone,
    absent_features_change_nothing,
    same_without_absent_features_and_where_all_are_present,
    yaml_holds_the_defaults,
)

"""Curves, shares and pictures from rows with known values; what the leaderboard says of the best there is."""

import json

import numpy as np
import pytest
import torch
from score_rows import cells, frame, noise

from xaieval import leaderboard
from xaieval.component import component_json
from xaieval.config import ConfigError, components, composed
from xaieval.faithfulness_report import (
    CHANCE,
    curves,
    draw_curves,
    draw_shares,
    of_masking,
    shares,
    write_figures,
)
from xaieval.metrics.acu import ACU
from xaieval.metrics.masf import MaSF
from xaieval.metrics.racu import RACU
from xaieval.pooled import metric_of, reachable
from xaieval.results import write_rows
from xaieval.verbs import run_verb

COUNT, GRID = 30, np.linspace(0, 1, 11)


def rows(metric, method, table, model="toy"):
    """Rows of a pooled metric with the values `(n, K)`."""
    found, name = cells(method, "insertion", [None] * len(table), model=model), type(metric).__name__.lower()
    shared = {
        "metric": name,
        "metric_parameters": component_json(metric),
        "higher_is_better": metric.higher_is_better,
        "lowest": metric.bounds[0],
        "highest": metric.bounds[1],
    }
    return [
        {**row, **shared, "values": tuple(map(float, values)), "key": f"{model}{name}{row['key']}"}
        for row, values in zip(found, table, strict=True)
    ]


def falling(at, seed=0):
    """Right answers of all texts until a ratio; and by chance, where as many more are lost at each."""
    own = (at > GRID).astype(float)[None].repeat(COUNT, 0)
    lost = np.random.default_rng(seed).permutation(COUNT)[:, None] / COUNT
    return np.hstack((own, (lost >= GRID).astype(float)))


def p_values(low):
    """The first `low` texts are odd at every ratio but 0."""
    table = np.full((COUNT, 11), 0.5)
    table[:low, 1:] = 0.01
    return table


ALL = frame(
    rows(RACU(), "gradient_l2", falling(0.55)),
    rows(RACU(), "random", falling(0.35)),
    rows(ACU(), "random", falling(0.35)),
    rows(ACU(), "leave_one_out", falling(0.15)),
    rows(MaSF(), "leave_one_out", p_values(6)),
    rows(MaSF(), "leave_one_out", p_values(12), "other"),
    cells("gradient", "deletion", noise(1)),
)


def test_curves_are_means_over_texts():
    found = curves(ALL).set_index(["method", "ratio"])["mean"].unstack()
    assert sorted(found.index) == ["gradient_l2", "leave_one_out", "random", CHANCE]
    np.testing.assert_allclose(found.loc["gradient_l2"], GRID < 0.55)
    expected = [(np.arange(COUNT) / COUNT >= ratio).mean() for ratio in GRID]
    np.testing.assert_allclose(found.loc[CHANCE], expected)


def test_intervals_are_those_of_a_share():
    """Of 30 texts, half right: .5 ± 1.96 sqrt(.25 / 30), to the coarseness of a bootstrap; none where all are alike."""
    found = curves(ALL)
    half = found[(found["method"] == CHANCE) & np.isclose(found["ratio"], 0.5)].iloc[0]
    width = 1.96 * np.sqrt(0.25 / COUNT)
    assert half["mean"] - half["low"] == pytest.approx(width, rel=0.15)
    assert half["high"] - half["mean"] == pytest.approx(width, rel=0.15)
    alike = found[found["method"] == "gradient_l2"]
    np.testing.assert_allclose(alike["low"], alike["high"])


def test_shares_below_alpha():
    found = shares(ALL).set_index(["model", "ratio"])["mean"]
    assert found["toy", 0.0] == 0
    assert found["toy", 1.0] == pytest.approx(0.2)
    assert found["other", 1.0] == pytest.approx(0.4)
    assert set(shares(ALL)["alpha"]) == {0.05}


def test_what_is_reachable():
    """Chance falls evenly: .9, but for the texts' own steps; no metric else has a best value."""
    own = ALL[ALL["metric"] == "racu"]
    assert reachable(own) == pytest.approx(RACU().reachable(pd_values(own)))
    assert reachable(own) == pytest.approx(0.9, abs=0.01)
    for metric in ("acu", "masf", "deletion"):
        assert reachable(ALL[ALL["metric"] == metric]) is None
    assert metric_of(json.dumps({"_target_": "nowhere.Metric"})) is None


def pd_values(own):
    return torch.tensor([list(entry) for entry in own[own["method"] == "random"]["values"]])


def test_the_leaderboard_says_so():
    boards = {board.model: board for board in leaderboard.leaderboards(ALL)}
    assert "Best reachable with these steps of masking: racu 0.90." in boards["toy"].text()
    assert "Best reachable" not in boards["other"].text()
    scores = boards["toy"].columns[[column.name for column in boards["toy"].columns].index("racu")].scores
    expected = RACU().aggregate(pd_values(ALL[ALL["metric"] == "racu"]))
    assert scores["random"].interval.mean == pytest.approx(expected)


def test_figures_have_a_panel_for_each_model_and_a_line_for_each_method():
    figure = draw_shares(ALL)
    assert [axes.get_title() for axes in figure.axes] == ["other, photos", "toy, photos"]
    (curve, level) = figure.axes[1].get_lines()
    assert np.allclose(np.asarray(curve.get_ydata()), [0, *[0.2] * 10])
    assert np.allclose(np.asarray(level.get_ydata()), 0.05)
    (panel,) = draw_curves(ALL).axes
    assert [line.get_label() for line in panel.get_lines()] == ["gradient_l2", "leave_one_out", "random", CHANCE]


def test_files_and_verb(tmp_path, capsys):
    write_rows(ALL, tmp_path)
    assert [file.name for file in write_figures(ALL, tmp_path)] == ["faithfulness_curves.png", "faithfulness_masf.png"]
    for file in tmp_path.glob("*.png"):
        file.unlink()
    run_verb("faithfulness", [str(tmp_path)])
    said = capsys.readouterr().out
    assert "racu" in said
    assert "deletion" not in said
    assert all(file.is_file() for file in (tmp_path / "faithfulness_curves.png", tmp_path / "faithfulness_masf.png"))


def test_what_has_no_curves(tmp_path):
    other = frame(cells("gradient", "deletion", noise(1)))
    assert of_masking(other).empty
    assert write_figures(other, tmp_path) == []
    write_rows(other, tmp_path)
    with pytest.raises(ConfigError, match="there are no faithfulness curves in"):
        run_verb("faithfulness", [str(tmp_path)])
    with pytest.raises(ConfigError, match="faithfulness of what"):
        run_verb("faithfulness", [])
    with pytest.raises(ValueError, match="there is no faithfulness curve in these rows"):
        draw_curves(other)


def test_the_experiment():
    """Two models; what they are trained with is composed while the run is."""
    from hydra import initialize_config_module
    from hydra.core.global_hydra import GlobalHydra

    from xaieval.train_text import default_recipe

    with initialize_config_module("xaieval.conf", version_base="1.3"):
        running = GlobalHydra.instance().hydra
        values = composed(["experiment=faithful_text"])
        assert default_recipe("half_det", "cpu").plan.masking == "half_det"
        assert GlobalHydra.instance().hydra is running
    assert sorted(values["model"]) == ["minilm", "minilm_masked"]
    assert values["target"] == "label"
    methods, metrics = (components(values, group) for group in ("method", "metric"))
    assert [name for name, method in methods.items() if method.sentinel] == ["random"]
    assert {name: metric.pooled for name, metric in metrics.items()} == dict.fromkeys(("acu", "racu", "masf"), True)
    signed = {name for name, method in methods.items() if method.signed}
    assert signed == {"integrated_gradients", "leave_one_out"}

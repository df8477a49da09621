"""Contact sheets: scales, panels, titles, outlines; and the command that draws them."""

import sys
from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from projects import ARGUMENTS, make_project

from xaieval import plots, verbs
from xaieval.benchmark import CellError
from xaieval.classifier import Classifier
from xaieval.config import ConfigError
from xaieval.laws import text_toys
from xaieval.laws.toys import General, images, seeded
from xaieval.plots import DIVERGING, SEQUENTIAL, draw, limits, rows_of, show

SIDE = 16


def explained(count=2, mask=None, **options):
    classifier = Classifier(seeded(General), **options)
    ids = [f"photo {row}" for row in range(count)]
    return classifier.explicand(images(count, SIDE), [row % 4 for row in range(count)], ids, mask=mask)


def panels(figure):
    """The axes of photos and maps, those of the key left out."""
    return figure.subfigs[0].axes


def ramp():
    """0, 1/256, ..., 255/256 as a map `(2, 1, H, W)`."""
    return (torch.arange(SIDE * SIDE).view(1, 1, SIDE, SIDE) / SIDE**2).repeat(2, 1, 1, 1)


def drawn(axes):
    (picture,) = axes.images
    return picture


# -- scales --


def test_a_signed_scale_is_symmetric_and_ends_at_the_99th_percentile():
    values = np.linspace(-3, 1, 101)
    low, high = limits(values, signed=True)
    assert low == -high
    assert high == pytest.approx(np.sort(np.abs(values))[99])


def test_an_unsigned_scale_begins_at_the_smallest_score():
    assert limits(np.linspace(2, 3, 101), signed=False) == pytest.approx((2, 2.99))


@pytest.mark.parametrize(
    ("values", "signed", "expected"),
    [
        (np.zeros((4, 4)), True, (-1, 1)),
        (np.zeros((4, 4)), False, (0, 1)),
        (np.full((4, 4), 5.0), False, (5, 6)),
        (np.eye(1, 400, 7).reshape(20, 20), False, (0, 1)),
        (np.full((4, 4), np.nan), True, (-1, 1)),
        (np.where(np.eye(4) > 0, np.nan, 2.0) * [[0, 1, 1, 1]], False, (0, 2)),
    ],
    ids=["zero signed", "zero", "constant", "one pixel", "nan", "partly nan"],
)
def test_maps_with_hardly_any_values_have_a_scale(values, signed, expected):
    assert limits(values, signed) == expected


def test_zero_is_the_middle_color_of_a_signed_map():
    values = ramp() - 0.25
    figure = show(explained(), {"signed": values, "unsigned": ramp()})
    _, signed, unsigned = panels(figure)[:3]
    assert drawn(signed).get_cmap().name == DIVERGING
    assert drawn(signed).norm(0.0) == 0.5
    assert drawn(unsigned).get_cmap().name == SEQUENTIAL
    assert drawn(unsigned).norm(0.0) == 0


def test_units_and_scores_decide_on_the_scale():
    explicand = explained()
    gradient = ramp().repeat(1, 3, 1, 1)  # by its shape; no score is negative
    late = ramp()
    late[1] -= 0.5  # the second photo's scores have both signs: one scale for both
    figure = show(explicand, {"gradient": gradient, "late": late, "rounding": ramp() - 1e-9})
    for line in (0, 1):
        found = [drawn(axes).get_cmap().name for axes in panels(figure)[4 * line + 1 : 4 * line + 4]]
        assert found == [DIVERGING, DIVERGING, SEQUENTIAL]


def test_channels_are_summed_with_their_signs():
    values = torch.zeros(2, 3, SIDE, SIDE)
    values[:, 0], values[:, 1] = ramp()[:, 0], -3 * ramp()[:, 0]
    picture = drawn(panels(show(explained(), {"a": values}))[1])
    np.testing.assert_allclose(picture.get_array(), -2 * ramp()[0, 0], rtol=1e-6)


# -- what may be chosen --


def label(figure):
    return [axes.get_xlabel() for axes in figure.subfigs[1].axes]


def test_a_scale_ends_at_the_percentile_that_is_asked_for():
    figure = show(explained(), {"a": ramp(), "b": -ramp()}, percentile=50)
    assert drawn(panels(figure)[1]).get_clim() == pytest.approx((0, np.percentile(ramp()[0], 50)))
    assert drawn(panels(figure)[2]).get_clim()[1] == pytest.approx(np.percentile(ramp()[0], 50))
    assert label(figure) == [
        "signed, to \N{PLUS-MINUS SIGN} percentile 50 of each map",
        "importance, to percentile 50 of each map",
    ]
    for wrong in (0, 101):
        with pytest.raises(ValueError, match=f"percentile must be above 0 and at most 100, got {wrong}"):
            show(explained(), {"a": ramp()}, percentile=wrong)


def test_panels_share_one_scale_of_each_kind_if_asked():
    own = ramp()
    own[1] *= 3  # the second photo
    figure = show(explained(), {"a": own, "small": 0.1 * own, "b": -own}, shared=True)
    every = np.concatenate([own.flatten(), 0.1 * own.flatten()])
    for place in (1, 2, 5, 6):
        assert drawn(panels(figure)[place]).get_clim() == pytest.approx((0, np.percentile(every, 99)))
    high = np.percentile(own.flatten(), 99)
    assert [drawn(panels(figure)[place]).get_clim() for place in (3, 7)] == [pytest.approx((-high, high))] * 2
    assert label(figure) == [
        "signed, to \N{PLUS-MINUS SIGN} percentile 99 of all maps",
        "importance, to percentile 99 of all maps",
    ]
    keys = [[tick.get_text() for tick in axes.get_xticklabels()] for axes in figure.subfigs[1].axes]
    assert keys == [[f"{-high:.2g}", "0", f"{high:.2g}"], ["0", "", f"{np.percentile(every, 99):.2g}"]]
    each = show(explained(), {"a": own})
    ends = [drawn(panels(each)[place]).get_clim()[1] for place in (1, 3)]
    assert ends[1] == pytest.approx(3 * ends[0])


def test_an_overlay_fades_small_scores_over_the_photo_in_gray():
    explicand = explained()
    figure = show(explicand, {"signed": ramp() - 0.25, "unsigned": ramp() + 1}, overlay=True)
    _, signed, unsigned = panels(figure)[:3]
    for axes, values, least in ((signed, ramp()[0, 0] - 0.25, 0.0), (unsigned, ramp()[0, 0] + 1, 1.0)):
        photo, picture = axes.images
        np.testing.assert_allclose(photo.get_array(), explicand.inputs[0].mean(0), rtol=1e-5)
        size = np.abs(values.numpy() - least)
        np.testing.assert_allclose(picture.get_alpha(), (size / np.percentile(size, 99)).clip(0, 1), rtol=1e-5)
    assert len(panels(show(explicand, {"a": ramp()}))[1].images) == 1


def test_show_draws_images_only():
    texts = text_toys.explicand(seeded(text_toys.Reader))
    with pytest.raises(
        ValueError, match=r"show draws images \(N, C, H, W\), got inputs .*xaieval.text_plots.show_texts"
    ):
        show(texts, {"a": texts.inputs})


def test_a_dollar_in_a_name_is_no_formula(tmp_path):
    figure = show(explained(), {r"$\bad{$": ramp()})
    figure.savefig(tmp_path / "a.png")
    assert panels(figure)[1].get_title() == r"$\bad{$"


def lightness(name):
    """Luminance of the colors from one end to the other."""
    colors = mpl.colormaps[name](np.linspace(0, 1, 11))[:, :3]
    linear = np.where(colors <= 0.04045, colors / 12.92, ((colors + 0.055) / 1.055) ** 2.4)
    return linear @ np.array([0.2126, 0.7152, 0.0722])


def test_scales_are_read_by_lightness_alone():
    assert (np.diff(lightness(SEQUENTIAL)) > 0).all()
    both = lightness(DIVERGING)
    assert (np.diff(both[:6]) > 0).all()
    assert (np.diff(both[5:]) < 0).all()
    assert both[5] > 0.9


def test_the_ends_of_the_diverging_scale_differ_without_red_and_green():
    """Blue against red: the blue channel alone, which the common color blindness leaves, tells the ends apart."""
    low, high = mpl.colormaps[DIVERGING](0.1), mpl.colormaps[DIVERGING](0.9)
    assert low[2] > high[2] + 0.4


# -- panels --


def test_a_photo_and_its_maps_stand_in_a_row():
    explicand = explained(3, categories=["cat", "dog", "owl", "bee"])
    figure = show(
        explicand, {"gradient": ramp().repeat(2, 1, 1, 1)[:3], "grad_cam_plus_plus": torch.ones(3, 1, 16, 16)}
    )
    assert isinstance(figure, Figure)
    axes = panels(figure)
    assert len(axes) == 3 * (1 + 2)
    assert [one.get_title() for one in axes] == ["", "gradient", "grad_cam_plus_\nplus"] + [""] * 6
    assert [one.get_ylabel() for one in axes[::3]] == ["photo 0\ncat", "photo 1\ndog", "photo 2\nowl"]
    for row in range(3):
        np.testing.assert_allclose(drawn(axes[3 * row]).get_array(), explicand.inputs[row].movedim(0, -1))


def test_many_maps_go_on_below_in_equal_bands():
    rows = rows_of(explained(2), {f"map_{number}": ramp() for number in range(7)})
    figure = draw(rows, columns=4)
    axes = panels(figure)
    assert len(axes) == 2 * 2 * (1 + 4)
    titles = [one.get_title() for one in axes]
    assert titles[1:5] == ["map_0", "map_1", "map_2", "map_3"]
    assert titles[11:15] == ["map_4", "map_5", "map_6", ""]
    assert not axes[14].images
    assert len(panels(draw(rows, columns=6))) == 2 * 2 * (1 + 4)  # not 6 and 1


def test_a_class_without_a_name_has_its_number():
    assert rows_of(explained(2), {"a": ramp()})[1].title == "photo 1\nclass 1"


def test_gray_inputs_are_drawn():
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(SIDE**2, 2))
    explicand = Classifier(module).explicand(images(2, SIDE)[:, :1], 0)
    assert drawn(panels(show(explicand, {"a": ramp()}))[0]).get_array().shape == (SIDE, SIDE, 3)


def test_a_missing_map_leaves_its_panel():
    first, second = rows_of(explained(2), {"a": ramp(), "b": ramp()})
    axes = panels(draw([first, replace(second, maps={"a": second.maps["a"]})]))
    assert [text.get_text() for text in axes[5].texts] == ["no map"]
    assert not axes[5].images


def test_the_object_is_outlined_where_it_is_known():
    mask = torch.zeros(2, SIDE, SIDE, dtype=torch.bool)
    mask[0, 4:8, 5:11] = True  # the second photo's is empty
    axes = panels(show(explained(2, mask), {"a": ramp()}))
    assert [len(one.collections) for one in axes] == [1, 1, 0, 0]
    (path,) = axes[1].collections[0].get_paths()
    np.testing.assert_allclose(path.get_extents().get_points(), [[4.5, 3.5], [10.5, 7.5]])
    assert [len(one.collections) for one in panels(show(explained(2), {"a": ramp()}))] == [0] * 4


@pytest.mark.parametrize(
    ("maps", "keys"),
    [
        ({"a": ramp()}, [["least", "", "most"]]),
        ({"a": -ramp()}, [["negative", "0", "positive"]]),
        ({"a": ramp(), "b": -ramp()}, [["negative", "0", "positive"], ["least", "", "most"]]),
    ],
)
def test_the_key_explains_the_scales_in_use(maps, keys):
    key = show(explained(), maps).subfigs[1]
    assert [[label.get_text() for label in axes.get_xticklabels()] for axes in key.axes] == keys


def test_titles_overlap_nothing():
    """Every title is above its own panel, no wider, and everything lies in the picture."""
    names = ["integrated_gradients", "linear_approximation", "gradient", "a_very_long_name_of_a_preset"]
    figure = show(explained(2), dict.fromkeys(names, ramp()))
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer, (width, height) = canvas.get_renderer(), canvas.get_width_height()
    for axes in panels(figure):
        title, panel = axes.title.get_window_extent(renderer), axes.get_window_extent(renderer)
        assert title.width <= panel.width + 2
        assert 0 <= panel.x0 <= panel.x1 <= width
        assert 0 <= title.y0 <= title.y1 <= height
        assert panel.width == pytest.approx(panel.height, rel=0.02)


def test_nothing_to_draw_says_so():
    with pytest.raises(ValueError, match="at least one photo with one map, got none"):
        show(explained(), {})


def test_matplotlib_is_asked_for(monkeypatch, tmp_path):
    monkeypatch.setattr(plots, "find_spec", lambda name: None)
    for use in (lambda: show(explained(), {"a": ramp()}), lambda: plots.checked(tmp_path / "a.png")):
        with pytest.raises(ConfigError, match=r"drawing needs matplotlib, .* pip install 'xaieval\[plots\]'"):
            use()


# -- the command --


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A user's folder as the working directory, with a log of the model's calls."""
    monkeypatch.chdir(make_project(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("FORWARD_LOG", str(tmp_path / "calls"))
    yield tmp_path
    sys.modules.pop("toy", None)


def calls(project, name="calls"):
    log = project / name
    return len(log.read_text().splitlines()) if log.exists() else 0


def test_sheet_draws_the_first_three_and_keeps_the_maps(project, capsys, monkeypatch):
    seen: list[list[plots.Row]] = []

    def noted(rows):
        seen.append(rows)
        return draw(rows)

    monkeypatch.setattr(plots, "draw", noted)
    words = (*ARGUMENTS, "method=[gradient,random]")
    verbs.run_verb("sheet", words)
    assert capsys.readouterr().out == "sheet.png: 3 photos\n"
    with Image.open("sheet.png") as picture:
        assert picture.width > 600
    assert [row.title.split("\n")[0] for row in seen[0]] == ["p0.png", "p1.png", "p2.png"]
    assert [sorted(row.maps) for row in seen[0]] == [["gradient", "random"]] * 3
    assert [row.mask is not None for row in seen[0]] == [False, True, False]
    assert calls(project) > 0
    monkeypatch.setenv("FORWARD_LOG", str(project / "later"))
    verbs.run_verb("sheet", ("again.pdf", *words, "dataset.limit=2"))
    assert calls(project, "later") == 0
    assert "again.pdf: 2 photos" in capsys.readouterr().out
    assert len(seen[1]) == 2
    for name in ("gradient", "random"):
        assert np.array_equal(seen[1][1].maps[name], seen[0][1].maps[name])


def test_sheet_draws_the_others_where_a_method_fails(project, capsys):
    with pytest.raises(CellError, match=r"1 map could not be made, the others are drawn:\n.*bad: ArithmeticError: no"):
        verbs.run_verb("sheet", (*ARGUMENTS, "+method.bad._target_=toy.Failing", "dataset.limit=1"))
    assert "sheet.png: 1 photo\n" in capsys.readouterr().out
    with pytest.raises(CellError):
        verbs.run_verb("sheet", (*ARGUMENTS, "~method.gradient", "+method.bad._target_=toy.Failing", "nothing.png"))
    assert not (project / "nothing.png").exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("a.png", "b.png"), "sheet draws one file, as in .* got \\['a.png', 'b.png'\\]"),
        (("a.doc",), "a.doc does not end in the name of a kind of picture: one of .*png"),
        (("nowhere/a.png",), "there is no folder nowhere"),
        (("model=[callable,resnet18]",), "this takes one model, got callable, resnet18: choose it with model=NAME"),
    ],
)
def test_what_is_wrong_with_a_sheet(project, words, sentence):
    with pytest.raises(ConfigError, match=sentence):
        verbs.run_verb("sheet", (*ARGUMENTS, *words))

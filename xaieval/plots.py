"""Contact sheets: photos in rows, the maps of methods in columns.

    show(explicand, {"gradient": attribution, ...})          # in a notebook, after %matplotlib inline

A map's channels are summed. One with a sign is drawn on a diverging scale, symmetric about zero: blue is negative,
white zero, red positive. Others run from their smallest score (dark) up. Both are clipped at the 99th percentile of
their size, each map by itself unless all share a scale; the key says how. A white line goes around the object where the
dataset knows it.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from torch import Tensor

from xaieval.config import ConfigError
from xaieval.explicand import Explicand

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

DIVERGING, SEQUENTIAL = "RdBu_r", "viridis"
"""Color maps that people who do not tell red from green can read."""

PERCENTILE = 99.0
"""Of the absolute scores, where a scale ends: a few extreme pixels would leave the rest without contrast."""

COLUMNS = 10
"""Maps beside each other; more go on below, with the photos repeated."""

PANEL, KEY, WIDTH = 1.5, 0.5, 0.3
"""Side of a panel and height of the key in inches, and the part of the width that each bar of the key takes."""


@dataclass(frozen=True, eq=False)
class Row:
    """A photo and its maps.

    Attributes:
        title: Name of the photo, and of the class explained.
        image: Pixels in [0, 1], `(H, W, 3)`.
        mask: True on the object, `(H, W)`; None where it is not known.
        maps: Scores `(H, W)` by the method's name, channels summed.
        signed: Names of the maps whose scores have a sign, whatever the values are.
    """

    title: str
    image: np.ndarray
    mask: np.ndarray | None
    maps: Mapping[str, np.ndarray]
    signed: frozenset[str] = frozenset()


class Mapped(Protocol):
    """What has maps: a photo, or a text."""

    @property
    def maps(self) -> Mapping[str, np.ndarray]:
        """Scores by the method's name."""

    @property
    def signed(self) -> frozenset[str]:
        """Names of the maps whose scores have a sign, whatever the values are."""


@dataclass(frozen=True)
class Scaling:
    """How scores become colors.

    Attributes:
        percentile: Of the absolute scores, where a scale ends, in (0, 100].
        shared: One scale for all maps with a sign and one for all others, with numbers in the key; else one each.
        overlay: Draw maps over the photo in gray, the fainter the smaller a score is; else beside it.

    Raises:
        ValueError: Another percentile.
    """

    percentile: float = PERCENTILE
    shared: bool = False
    overlay: bool = False

    def __post_init__(self) -> None:
        """Check the percentile."""
        if not 0 < self.percentile <= 100:
            raise ValueError(f"percentile must be above 0 and at most 100, got {self.percentile}")

    def limits(self, rows: Sequence[Row], signed: set[str]) -> Callable[[Row, str], tuple[float, float]]:
        """The scores at the ends of the scale of each map."""
        if not self.shared:
            return lambda row, name: limits(row.maps[name], name in signed, self.percentile)
        maps = [(name in signed, finite(values)) for row in rows for name, values in row.maps.items()]
        ends = {
            kind: limits(np.concatenate([values for own, values in maps if own is kind]), kind, self.percentile)
            for kind in {own for own, _ in maps}
        }
        return lambda _, name: ends[name in signed]


def show(
    explicand: Explicand,
    attributions: Mapping[str, Tensor],
    *,
    percentile: float = PERCENTILE,
    shared: bool = False,
    overlay: bool = False,
) -> Figure:
    """Draw attributions of the same images, each photo at the left of its maps.

    Args:
        explicand: What was explained.
        attributions: `(N, C, H, W)` or `(N, 1, H, W)` by name.
        percentile: Of the absolute scores, where a scale ends, in (0, 100].
        shared: One scale for all maps with a sign and one for all others, so that colors compare sizes; else one each.
        overlay: Draw maps over the photo in gray, the fainter the smaller a score is; else beside it.

    Raises:
        ConfigError: matplotlib is not installed.
        ValueError: Another percentile, nothing to draw, or inputs that are no images.

    Example:
        >>> from torch import nn, rand
        >>> from xaieval import Classifier
        >>> explicand = Classifier(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())).explicand(rand(2, 3, 8, 8))
        >>> figure = show(explicand, {"gradient": explicand.gradient})  # a notebook shows it after %matplotlib inline
        >>> len(figure.subfigs[0].axes)  # two photos with a map each
        4
    """
    if explicand.inputs.dim() != 4:
        raise ValueError(
            f"show draws images (N, C, H, W), got inputs {tuple(explicand.shape)}: draw texts with "
            "xaieval.text_plots.show_texts"
        )
    return draw(rows_of(explicand, attributions), scaling=Scaling(percentile, shared, overlay))


def rows_of(explicand: Explicand, attributions: Mapping[str, Tensor]) -> list[Row]:
    """A row for each input."""
    features = {name: explicand.features(one).cpu().numpy() for name, one in attributions.items()}
    signed = frozenset(name for name, one in attributions.items() if explicand.units_of(one) != "importance")
    images = explicand.inputs.expand(-1, 3, -1, -1).movedim(1, -1).clamp(0, 1).cpu().numpy()
    masks = [None] * explicand.count if explicand.mask is None else list(explicand.mask.cpu().numpy())
    return [
        Row(
            title_of(explicand, row),
            images[row],
            masks[row],
            {name: one[row] for name, one in features.items()},
            signed,
        )
        for row in range(explicand.count)
    ]


def title_of(explicand: Explicand, row: int) -> str:
    """Name of the sample, and of the class explained."""
    number, names = int(explicand.target[row]), explicand.classifier.categories
    return f"{explicand.ids[row]}\n{names[number] if names else f'class {number}'}"


def draw(rows: Sequence[Row], columns: int = COLUMNS, scaling: Scaling | None = None) -> Figure:
    """The figure of some rows: a band of at most `columns` maps below the other, the photos at the left of each.

    Raises:
        ConfigError: matplotlib is not installed.
        ValueError: There is nothing to draw.
    """
    require_matplotlib()
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(name for row in rows for name in row.maps))
    if not names:
        raise ValueError("a contact sheet needs at least one photo with one map, got none")
    scaling = scaling or Scaling()
    columns = math.ceil(len(names) / math.ceil(len(names) / columns))  # bands as equal as they can be
    bands = [names[start : start + columns] for start in range(0, len(names), columns)]
    lines = len(bands) * len(rows)
    height = PANEL * lines + 0.4 * len(bands)
    figure = Figure(figsize=(PANEL * (columns + 1) + 0.4, height + KEY), dpi=150)
    figure.set_layout_engine("constrained", w_pad=0.02, h_pad=0.02, wspace=0.0, hspace=0.0)
    parts: Any = figure.subfigures(2, 1, height_ratios=(height, KEY))
    panels, key = parts
    axes = iter(panels.subplots(lines, columns + 1, squeeze=False))
    signed = {name for name in names if any(is_signed(row, name) for row in rows)}
    ends = scaling.limits(rows, signed)
    maps = [{name: (own, name in signed, ends(row, name)) for name, own in row.maps.items()} for row in rows]
    for band in bands:
        for place, (row, drawn) in enumerate(zip(rows, maps, strict=True)):
            titles = {name: wrapped(name) if place == 0 else "" for name in band}
            _line(next(axes), row, titles, drawn, scaling.overlay)
    _key(key, {kind: scale for drawn in maps for _, kind, scale in drawn.values()}, scaling)
    return figure


def is_signed(row: Mapped, name: str) -> bool:
    """Whether a map's units have a sign, or some of its scores."""
    if name in row.signed or name not in row.maps:
        return name in row.signed
    values = finite(row.maps[name])
    return bool(values.min() < -1e-6 * np.abs(values).max())


def finite(values: np.ndarray) -> np.ndarray:
    """What can be drawn; zero where nothing can."""
    left = values[np.isfinite(values)]
    return left if left.size else np.zeros(1)


def _line(
    axes: Sequence[Axes],
    row: Row,
    titles: Mapping[str, str],
    maps: Mapping[str, tuple[np.ndarray, bool, tuple[float, float]]],
    overlay: bool,
) -> None:
    """One photo and its maps of one band: for each its scores, whether they are signed, and the ends of its scale."""
    axes[0].imshow(row.image)
    axes[0].set_ylabel("\n".join(_shortened(row.title)), fontsize=7, parse_math=False)
    for one, (name, title) in zip(axes[1:], titles.items(), strict=False):
        if name in maps:
            _map(one, *maps[name], row.image if overlay else None)
        else:
            one.text(0.5, 0.5, "no map", ha="center", va="center", transform=one.transAxes, fontsize=7)
        one.set_title(title, fontsize=8, parse_math=False)
    for one in axes:
        one.set_xticks([])
        one.set_yticks([])
        one.spines[:].set_visible(False)
    for one in axes[: len(titles) + 1]:
        _outline(one, row.mask)


def _map(axes: Axes, values: np.ndarray, signed: bool, ends: tuple[float, float], photo: np.ndarray | None) -> None:
    """The scores in their colors, over a photo where there is one."""
    (low, high), opaque = ends, None
    if photo is not None:
        axes.imshow(photo.mean(axis=-1), cmap="gray", vmin=0, vmax=1)
        size = np.abs(values) if signed else values - low
        opaque = np.nan_to_num(size / (high if signed else high - low)).clip(0, 1)
    axes.imshow(values, cmap=DIVERGING if signed else SEQUENTIAL, vmin=low, vmax=high, alpha=opaque)


def limits(values: np.ndarray, signed: bool, percentile: float = PERCENTILE) -> tuple[float, float]:
    """The scores at the ends of the scale: symmetric about zero, or from the smallest to a percentile of the sizes."""
    values = finite(values)
    low = 0.0 if signed else float(values.min())
    size = np.abs(values - low)
    span = float(np.percentile(size, percentile)) or float(size.max()) or 1.0  # a constant map has one color
    return (-span if signed else low), low + span


def _outline(axes: Axes, mask: np.ndarray | None) -> None:
    """The border of the object, white with a dark rim: seen on every color."""
    if mask is None or mask.all() or not mask.any():
        return
    from matplotlib.patheffects import Normal, Stroke

    lines = axes.contour(mask.astype(float), levels=[0.5], colors="white", linewidths=0.7)
    lines.set_path_effects([Stroke(linewidth=1.5, foreground="black"), Normal()])


def _key(figure: SubFigure, ends: Mapping[bool, tuple[float, float]], scaling: Scaling) -> None:
    """What the colors mean, a bar for each scale in use, with numbers where all maps share it."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    end = f"percentile {scaling.percentile:g} of {'all maps' if scaling.shared else 'each map'}"
    scales = {
        True: (DIVERGING, ("negative", "0", "positive"), f"signed, to \N{PLUS-MINUS SIGN} {end}"),
        False: (SEQUENTIAL, ("least", "", "most"), f"importance, to {end}"),
    }
    for place, kind in enumerate(sorted(ends, reverse=True)):
        colors, labels, title = scales[kind]
        if scaling.shared:
            labels = (f"{ends[kind][0]:.2g}", labels[1], f"{ends[kind][1]:.2g}")
        axes = figure.add_axes(((place + 0.5) / len(ends) - WIDTH / 2, 0.55, WIDTH, 0.2))
        bar = figure.colorbar(ScalarMappable(Normalize(0, 2), colors), cax=axes, orientation="horizontal")
        bar.set_ticks([0, 1, 2], labels=labels, fontsize=7)
        bar.set_label(title, fontsize=7, labelpad=1)
        bar.outline.set_visible(False)
        axes.tick_params(length=0, pad=1)


def wrapped(name: str) -> str:
    """A name on lines that fit above a panel, broken after underscores where there are any."""
    lines = textwrap.wrap(name.replace("_", "_ "), width=18)
    return "\n".join(line.replace("_ ", "_") for line in lines)


def _shortened(title: str) -> Iterator[str]:
    """The lines of a title, each short enough for the side of a panel."""
    for line in title.splitlines():
        yield textwrap.shorten(line, width=26, placeholder=" ...") if " " in line else line[:26]


def checked(path: Path) -> Path:
    """A path that a figure can be saved to.

    Raises:
        ConfigError: matplotlib is not installed, or writes no such files.
    """
    require_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    kinds = sorted(FigureCanvasAgg.get_supported_filetypes())
    if path.suffix.removeprefix(".").lower() not in kinds:
        raise ConfigError(f"{path} does not end in the name of a kind of picture: one of {', '.join(kinds)}")
    if not path.parent.is_dir():
        raise ConfigError(f"{path}: there is no folder {path.parent}: make it, or name another file")
    return path


def require_matplotlib() -> None:
    """Check that pictures can be drawn.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    if find_spec("matplotlib") is None:
        raise ConfigError("drawing needs matplotlib, not installed here: pip install 'xaieval[plots]'")

"""How methods look in charts: a color, a marker and a line each, so that no two are alike even without color.

The colors are those of Okabe and Ito (2008, "Color universal design"), which people with any common color vision tell
apart, without yellow, which is lost on white. Sentinels are gray.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
LINES = ("solid", "dashed", "dashdot", "dotted", (0, (5, 1, 1, 1, 1, 1)))
"""Their numbers share no factor, so 280 methods pass before one looks like another."""

GRAY = "#767676"
"""Of sentinels, and of what charts compare with; dark enough to be read on white."""

THIN = ("x", "+", "1", "2", "3", "4", "|", "_")
"""Markers of sentinels: strokes without an area."""


@dataclass(frozen=True)
class Look:
    """Of one method: a color, a marker and a line style of matplotlib."""

    color: str
    marker: str
    line: Any

    def options(self) -> dict[str, Any]:
        """As keywords of `Axes.plot`."""
        return {"color": self.color, "marker": self.marker, "linestyle": self.line, "markersize": 4, "linewidth": 1.3}


def looks(methods: Iterable[str], sentinels: Iterable[str] = ()) -> dict[str, Look]:
    """The look of each method, in their order, and of each sentinel."""
    found = {
        name: Look(COLORS[place % len(COLORS)], MARKERS[place % len(MARKERS)], LINES[place % len(LINES)])
        for place, name in enumerate(methods)
    }
    for place, name in enumerate(sentinels):
        found[name] = Look(GRAY, THIN[place % len(THIN)], LINES[(place + 1) % len(LINES)])
    return found

"""The graph of gradients that autograd keeps of a call."""

from __future__ import annotations

from graphlib import TopologicalSorter
from typing import Any


def graph_of(root: Any) -> dict[Any, list[Any]]:
    """For each node from the root on (a tensor's `grad_fn`, or None) the nodes whose results it was made of."""
    used: dict[Any, list[Any]] = {}
    todo = [] if root is None else [root]
    while todo:
        node = todo.pop()
        if node not in used:
            used[node] = [following for following, _ in node.next_functions if following is not None]
            todo += used[node]
    return used


def crossed(root: Any, source: Any) -> set[Any]:
    """The nodes on every path from a root to a source: as many paths run through them as there are."""
    used = graph_of(root)
    order = list(TopologicalSorter(used).static_order())  # the source comes before what is made of it
    down, up = dict.fromkeys(order, 0), dict.fromkeys(order, 0)
    for node in order:
        down[node] = 1 if node is source else sum(down[one] for one in used[node])
    if root in up:
        up[root] = 1
    for node in reversed(order):
        for one in used[node]:
            up[one] += up[node]
    return {node for node in order if down[node] and down[node] * up[node] == down[root]}

"""The graph of gradients that autograd keeps of a call."""

from __future__ import annotations

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

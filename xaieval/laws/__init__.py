"""The contract of methods and metrics, checked without pytest.

    results = check(MyMethod)          # a class, an instance, a function f(model, inputs, target), a captum.attr class
    report(results)                    # a line for each law; True if all hold

A law is a function `law_x(component)` that raises `LawBroken` with a sentence; its docstring says what it demands. The
laws of a component are chosen by its attributes (`units`, `complete`, `sentinel`, `syncs`; `category`, `needs`, ...).
Laws are checked on small networks (transformers or concept bottlenecks for a method that refuses convolutional ones)
with small budgets: fields called samples, steps, designs, copies, grid, window, stride and tolerance are limited.

An exception is declared on the class, `exceptions = {"law": "reason"}`, and must be one: a law that holds all the same
is reported as broken.
"""

from __future__ import annotations

import contextlib
import inspect
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TextIO

from xaieval.adapters import as_method
from xaieval.component import Method, Metric
from xaieval.laws import methods, metrics, texts
from xaieval.laws.components import composed
from xaieval.laws.families import ATTENDING, CONVOLUTIONAL, DECIDING, NAMED, POOLING, READING
from xaieval.laws.guards import Law, LawBroken
from xaieval.unsupported import UnsupportedError

__all__ = ["LawBroken", "Result", "check", "composed", "laws_of", "name_of", "report", "verify"]

OTHERS = {CONVOLUTIONAL: (ATTENDING, DECIDING, NAMED), POOLING: (READING,), READING: (POOLING,)}
"""What a component that refuses the networks of a law is held to it on, in this order."""


@dataclass(frozen=True)
class Result:
    """What came of one law.

    Attributes:
        law: Its name.
        demand: What it demands, in a sentence.
        kept: Whether it holds, or fails as declared.
        explanation: Why it does not hold; empty where it does.
        exception: The reason declared on the class, if any.
        refusal: Why the component does not explain or score such inputs, if it refuses them.
    """

    law: str
    demand: str
    kept: bool
    explanation: str = ""
    exception: str = ""
    refusal: str = ""


def name_of(law: Law) -> str:
    """The name of a law, as in `exceptions`."""
    return law.__name__.removeprefix("law_")


def laws_of(component: Method | Metric) -> Iterator[Law]:
    """The laws that concern a component, those on texts last."""
    yield from metrics.laws_of(component) if isinstance(component, Metric) else methods.laws_of(component)
    yield from texts.laws_of(component)


def verify(law: Law, component: Method | Metric) -> None:
    """Hold a component to a law, or to its declared exception from it.

    An exception from a law excuses from the same law on texts, which may hold all the same.

    Raises:
        LawBroken: The law does not hold, or a declared exception is none.
        UnsupportedError: The component refuses texts, or every network of the law.
    """
    reason = reason_of(law, component)
    if reason is None:
        hold(law, component)
        return
    try:
        hold(law, component)
    except (LawBroken, ValueError):  # broken as declared, or the law's model is refused
        return
    if name_of(law) not in component.exceptions:
        return
    raise LawBroken(f"the class declares an exception ({reason}), but the law holds: remove it from exceptions")


def reason_of(law: Law, component: Method | Metric) -> str | None:
    """Why a law need not hold, as declared; None: it must."""
    name = name_of(law)
    return component.exceptions.get(name, component.exceptions.get(name.removeprefix(texts.PREFIX)))


def hold(law: Law, component: Method | Metric) -> None:
    """Hold a component to a law on the law's own networks, or on others if it refuses those.

    Raises:
        LawBroken: The law does not hold.
        UnsupportedError: The component refuses the networks of the law.
    """
    try:
        law(component)
    except UnsupportedError:
        given = inspect.signature(law).parameters.get("family")
        if given is None:
            raise
        for family in OTHERS[given.default]:
            with contextlib.suppress(UnsupportedError):
                law(component, family)
                return
        raise


def check(target: Any) -> list[Result]:
    """Hold a method or metric to all its laws.

    Args:
        target: A class or instance of a method or metric, or anything callable that `as_method` takes.
    """
    component = _component(target)
    laws = list(laws_of(component))
    results = _together([_checked(law, component) for law in laws])
    for unknown in sorted(set(component.exceptions) - set(map(name_of, laws))):
        sentence = f"exceptions names {unknown!r}, which is no law of this component"
        results.append(Result(unknown, "Declared exceptions name laws.", False, sentence))
    return results


def report(results: Sequence[Result], stream: TextIO | None = None) -> bool:
    """Write a line for each law, its explanation where it is broken, and a summary; True if all hold."""
    stream = stream or sys.stdout
    width = max(len(result.law) for result in results)
    for result in results:
        state = "BROKEN" if not result.kept else "exempt" if result.exception else "skip" if result.refusal else "ok"
        declared = f"{result.exception} (declared)" if result.exception else ""
        detail = result.explanation or declared or result.refusal or result.demand
        stream.write(f"{state:6}  {result.law:{width}}  {detail}\n")
    broken = sum(not result.kept for result in results)
    stream.write(f"{len(results) - broken} of {len(results)} laws hold.\n")
    return broken == 0


def _component(target: Any) -> Method | Metric:
    if isinstance(target, Metric):
        return target
    if isinstance(target, type) and issubclass(target, Metric):
        return target()
    return as_method(target)


def _together(results: list[Result]) -> list[Result]:
    """The results, with one in place of all laws on texts where the first of them says that they are refused."""
    others = [result for result in results if not result.law.startswith(texts.PREFIX)]
    first = next((result for result in results if result.law.startswith(texts.PREFIX)), None)
    if first is None or not first.refusal:
        return results
    return [*others, Result("texts", "The laws hold on texts, too.", True, refusal=first.refusal)]


def _checked(law: Law, component: Method | Metric) -> Result:
    demand = " ".join((law.__doc__ or "").split())
    reason = reason_of(law, component) or ""
    try:
        verify(law, component)
    except LawBroken as broken:
        return Result(name_of(law), demand, False, f"{demand} But {broken}.", reason)
    except UnsupportedError as refusal:
        on_texts = name_of(law).startswith(texts.PREFIX)
        sentence = str(refusal) if on_texts else f"{demand} But it raised UnsupportedError: {refusal}"
        return Result(name_of(law), demand, on_texts, "" if on_texts else sentence, reason, sentence * on_texts)
    except Exception as error:  # a stranger's code may raise anything, which breaks the law and nothing else
        sentence = f"{demand} But it raised {type(error).__name__}: {error}"
        return Result(name_of(law), demand, False, sentence, reason)
    return Result(name_of(law), demand, True, exception=reason)

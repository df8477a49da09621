"""What every method has in common that makes its map of another method's."""

from __future__ import annotations

from xaieval.component import Method


class Wrapper(Method):
    """A method that asks the explicand for another method's map, which is not made again where it is there.

    Attributes:
        method: Whose map it is.
    """

    method: Method

    @property
    def needs(self) -> tuple[str, ...]:  # type: ignore[override]
        """As the method."""
        return self.method.needs

    @property
    def refuses(self) -> str:  # type: ignore[override]
        """As for the method, whose missing maps stay missing."""
        return self.method.refuses

    @property
    def syncs(self) -> str:  # type: ignore[override]
        """As the method."""
        return self.method.syncs

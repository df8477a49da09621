"""What a method raises on a model that it does not support."""

from __future__ import annotations

UNSUPPORTED = "unsupported layers"
"""How every reason begins that a method gives for not explaining a model."""


class UnsupportedError(ValueError):
    """The model has layers for which the method is not defined, or lacks those that it reads.

    A run notes it as the reason why the method's cells are undefined, and goes on; anything else that a method raises
    is an error.

    Args:
        why: What the model has or lacks, with the name of the layer, in a few words.
        advice: What to do about it.
    """

    def __init__(self, why: str, advice: str = "choose another method for this model") -> None:
        super().__init__(f"{UNSUPPORTED}: {why}; {advice}")
        self.reason = f"{UNSUPPORTED}: {why}"

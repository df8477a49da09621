"""Metrics of attributions, one a file."""

if __name__ != "xaieval.metrics":
    raise ImportError(f"{__name__!r} is a folder of xaieval's source; write `import xaieval.metrics` instead.")

"""Attribution methods, one a file."""

if __name__ != "xaieval.attributions":
    raise ImportError(f"{__name__!r} is a folder of xaieval's source; write `import xaieval.attributions` instead.")

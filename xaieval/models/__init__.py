"""Where classifiers come from, one source a file."""

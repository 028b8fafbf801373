"""The command groups of the console script; each registers itself on the application of `cli.py`."""

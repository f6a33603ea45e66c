"""Measurements: `make bench`, or `python -m bench --help`. Nothing here is shipped."""

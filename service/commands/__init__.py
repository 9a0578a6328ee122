"""The ``coldspot`` command line."""

"""The ``coldspot-export`` command line."""

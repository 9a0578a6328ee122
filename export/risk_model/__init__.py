"""Risk models as bundles."""

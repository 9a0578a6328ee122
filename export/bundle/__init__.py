"""Model bundles: written, described, inspected."""

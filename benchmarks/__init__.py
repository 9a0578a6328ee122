"""Benchmarks beside the libraries that do the same, each subject in a folder of its own; ``make bench`` runs them."""

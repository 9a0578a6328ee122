"""Coldspot timed against the libraries that do the same, a folder for each subject; ``make bench`` runs them."""

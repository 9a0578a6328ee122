"""The power-on self-test on phantoms of known truth."""

"""Parity and speed on a GPU, in one command."""

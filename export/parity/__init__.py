"""Parity of an exported model with its source."""

"""The figures of a survival report."""

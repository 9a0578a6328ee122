"""Procedures under named conditions, assessed one by one: where the numbers hold and where they do not."""

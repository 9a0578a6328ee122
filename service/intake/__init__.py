"""Uploads: from the first message to a stored series."""

"""Risk of local tumor progression from a survival model."""

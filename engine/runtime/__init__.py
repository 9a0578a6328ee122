"""Running a network: one protocol, one module for each library behind it."""

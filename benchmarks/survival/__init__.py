"""Whether the fitted risk models find what a simulated cohort has in it."""

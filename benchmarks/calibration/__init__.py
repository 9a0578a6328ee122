"""Whether the answer is as certain as it claims: simulated procedures of known truth."""

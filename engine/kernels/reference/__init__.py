"""Reference twins of the kernels, in NumPy and SciPy: short, slow, the definition."""

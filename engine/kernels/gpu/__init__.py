"""GPU twins of the kernels, in numba.cuda."""

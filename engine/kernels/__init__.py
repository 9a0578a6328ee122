"""Voxel kernels: a facade each, and its twins for reference, CPU and GPU."""

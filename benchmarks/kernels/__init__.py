"""Every voxel kernel beside the libraries that do the same."""

from benchmarks.threads import limit_threads

limit_threads()

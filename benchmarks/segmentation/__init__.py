"""A standard nnU-Net, run by Coldspot and by nnunetv2."""

from benchmarks.threads import limit_threads

limit_threads()

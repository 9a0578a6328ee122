"""A standard nnU-Net beside nnunetv2 itself."""

from benchmarks.threads import limit_threads

limit_threads()

"""Deformable registration compared with elastix, ConvexAdam and demons."""

from benchmarks.threads import limit_threads

limit_threads()

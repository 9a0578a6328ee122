"""The whole assessment compared with a chain of existing tools, and where its time goes."""

from benchmarks.threads import limit_threads

limit_threads()

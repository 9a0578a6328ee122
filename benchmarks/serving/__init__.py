"""The overhead of the service over the engine."""

from benchmarks.threads import limit_threads

limit_threads()

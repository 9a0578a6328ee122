"""What the service adds to the measurement."""

from benchmarks.threads import limit_threads

limit_threads()

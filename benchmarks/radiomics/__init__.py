"""The radiomics of a zone beside PyRadiomics alone."""

from benchmarks.threads import limit_threads

limit_threads()

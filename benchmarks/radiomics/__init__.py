"""The radiomics of a zone compared with plain PyRadiomics."""

from benchmarks.threads import limit_threads

limit_threads()

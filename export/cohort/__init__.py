"""From a cohort of ablations to a risk model: every case is assessed as the service would, then a model is fitted.

Read :mod:`export.cohort.table` for what a hospital has to provide, :mod:`export.cohort.case_run` for what is
done with one case, :mod:`export.cohort.cohort_run` for how a run that was stopped goes on, and
:mod:`export.cohort.fitting` for what comes out.
"""

"""Survival statistics of the workshop, in numpy: what is fitted to a cohort and how it is measured.

Every function takes times in months, ``event`` (whether the endpoint was seen at that time; otherwise
follow-up ended without it) and risks of which a larger one means an earlier event.
"""

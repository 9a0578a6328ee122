"""Mapping the planning CT to the verification CT around the lesion.

A registration here is rigid at the tumor: the tumor's volume cannot change, so no alignment can shrink or
inflate it into the zone. The zone and its halo carry no evidence of where the tumor was and stay out of
every similarity.
"""

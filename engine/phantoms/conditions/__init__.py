"""Procedures under named conditions: each an independent switch of a description that is drawn from its seed."""

from engine.phantoms.conditions.description import PROCEDURAL, ProcedureDescription
from engine.phantoms.conditions.generator import ConditionedProcedure, make_conditioned
from engine.phantoms.conditions.registry import CONDITIONS, Condition, describe

__all__ = [
    "CONDITIONS",
    "PROCEDURAL",
    "Condition",
    "ConditionedProcedure",
    "ProcedureDescription",
    "describe",
    "make_conditioned",
]

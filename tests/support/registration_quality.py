"""The quality of a registration that is trusted, for tests that spoil one of its figures."""

from __future__ import annotations

from engine.findings import RegistrationQuality

GOOD = RegistrationQuality(
    similarity=0.98,
    residual_mm=0.2,
    descriptor_residual=0.1,
    inverse_consistency_mm=0.6,
    min_jacobian=0.7,
    max_jacobian=1.3,
    folding_share=0.0,
    evidence_share=0.95,
    mismatched_share=0.02,
    sliding_mm=0.1,
    new_air_ml=0.0,
    contraction=0.03,
)

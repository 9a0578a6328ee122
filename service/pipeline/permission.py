"""Whether a model may draw a contour that was not sent: a demo model draws only where the request says so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.errors import InvalidRequestError
from engine.findings import ContourKind

if TYPE_CHECKING:
    from engine.findings import ContourOrigin
    from service.pipeline.segmenters import InstalledSegmenter

_WAYS_OUT = (
    "send the contoured {structure}, install a model of the site's own, or allow demo models in the request "
    "(allow_demo_models, --allow-demo-models)"
)


@dataclass(frozen=True)
class DrawingPermission:
    """What models may draw in this service; ``clinical_mode`` is said where it is the reason that there is none."""

    clinical_mode: bool

    def require_drawn(
        self, segmenter: InstalledSegmenter | None, structure: str, *, allow_demo_models: bool
    ) -> None:
        """Refuse to draw a structure without a model, or with a demo model that nobody asked for.

        Raises
        ------
        InvalidRequestError
        """
        if segmenter is None:
            why = ", for clinical mode excludes demo models" if self.clinical_mode else ""
            raise InvalidRequestError(
                f"no {structure} mask was sent, and no model draws it here{why}: send the contoured {structure}, or "
                "install a model of the site's own"
            )
        if segmenter.identity.demo and not allow_demo_models:
            raise InvalidRequestError(
                f"no {structure} mask was sent, and {segmenter.identity.name} is a demo model, which is not meant for "
                f"patients: {_WAYS_OUT.format(structure=structure)}",
                "allow_demo_models",
            )

    def require_allowed(self, tumor: ContourOrigin, *, allow_demo_models: bool) -> None:
        """Refuse a prepared tumor that a demo model drew, where this request does not allow that.

        Raises
        ------
        InvalidRequestError
        """
        if tumor.kind is ContourKind.DEMO_MODEL and tumor.model is not None and not allow_demo_models:
            raise InvalidRequestError(
                f"a demo model, {tumor.model.name}, drew the tumor when the case was prepared, and this request does "
                f"not allow that: {_WAYS_OUT.format(structure='tumor')}",
                "allow_demo_models",
            )

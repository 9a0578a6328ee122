"""Features of a lesion by a foundation model for lung CT (FM-LCT), from CT and mask, without torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt

from engine.errors import ManifestError, ModelError
from engine.manifest import Bundle, Precision, load_bundle
from engine.manifest.features import FEATURES, PATCH
from engine.response.patch import lesion_patch
from engine.runtime.onnx_session import OnnxSession
from engine.runtime.session import InferenceSession
from engine.volume import CtVolume, LabelMask


class LungFeatureModel:
    """A feature bundle with its network open; close it, or use it in a ``with``.

    Parameters
    ----------
    bundle : Bundle
    session : InferenceSession
        The bundle's network; closed with the model.

    Raises
    ------
    ManifestError
        If it is not a feature model, or the network does not fit the manifest.
    """

    def __init__(self, bundle: Bundle, session: InferenceSession) -> None:
        self.manifest, self.identity = bundle.manifest, bundle.identity
        section = self.manifest.features
        if section is None:
            raise ManifestError(f"{self.identity} is a {self.manifest.kind} model; give a feature model here")
        self.section = section
        self._session = session
        self._require_tensors()

    @classmethod
    def load(
        cls,
        folder: Path,
        *,
        precision: Precision = "fp32",
        open_session: Callable[[bytes], InferenceSession] = OnnxSession,
    ) -> Self:
        """Check a bundle and open its network.

        Parameters
        ----------
        folder : Path
            ``models/<id>/<version>``.
        precision : {"fp32", "fp16_mixed", "int8"}, optional
        open_session : callable, optional
            From the checked bytes of the network to a session.

        Raises
        ------
        ManifestError, BundleIntegrityError, ModelError, BackendError
        """
        bundle = load_bundle(folder)
        networks = bundle.variant(precision)
        if len(networks) != 1:
            raise ManifestError(f"{folder} is an ensemble of {len(networks)}; features come from one network")
        session = open_session(networks[0])
        try:
            return cls(bundle, session)
        except ManifestError:
            session.close()
            raise

    @property
    def backend(self) -> str:
        """Name and version of what computes."""
        return self._session.backend

    def features(self, ct: CtVolume, lesion: LabelMask) -> npt.NDArray[np.float32]:
        """Features of one lesion.

        Parameters
        ----------
        ct : CtVolume
        lesion : LabelMask
            On the grid of the CT.

        Returns
        -------
        ndarray of float32, (feature,)
            768 of them for FM-LCT.

        Raises
        ------
        GridMismatchError, EmptyMaskError, InvalidRequestError
            See :func:`engine.response.patch.lesion_patch`.
        ModelError
            If the network gives NaN or infinity.
        BackendError
        """
        patch = lesion_patch(ct, lesion, self.section)
        features: npt.NDArray[np.float32] = self._session.run({PATCH: patch[None, None]})[FEATURES][0]
        if not np.isfinite(features).all():
            raise ModelError(
                f"{self.identity} gives features that are not finite on {self.backend}; use the variant fp32"
            )
        return features

    def close(self) -> None:
        """Release the network; a second call does nothing."""
        self._session.close()

    def __enter__(self) -> Self:
        """Return this model."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the network."""
        self.close()

    def _require_tensors(self) -> None:
        """The manifest's own tensors, with the shapes of its section."""
        session, manifest, section = self._session, self.manifest, self.section
        shapes = {spec.name: spec.shape[1:] for spec in (*manifest.inputs, *manifest.outputs)}
        expected = {PATCH: (1, *section.patch_shape), FEATURES: (section.feature_count,)}
        if (session.inputs, session.outputs) != (manifest.inputs, manifest.outputs) or shapes != expected:
            raise ManifestError(
                f"{self.identity}: the network takes and gives other tensors than its manifest says; export again"
            )

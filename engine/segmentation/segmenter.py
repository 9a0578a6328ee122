"""A segmentation bundle ready for use: nnU-Net inference without torch."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from engine.arrays import Float32Array
from engine.errors import InvalidRequestError, ManifestError
from engine.geometry import VolumeGeometry, VoxelBox
from engine.manifest import (
    IMAGE,
    LOGITS,
    Bundle,
    ModelManifest,
    Precision,
    SealedManifest,
    SegmentationSection,
    load_bundle,
)
from engine.model_identity import ModelIdentity
from engine.progress import ItemProgress
from engine.runtime.backends import BackendTiming, fastest_backend, open_session
from engine.runtime.session import InferenceSession
from engine.segmentation.companions import ChannelSource, channel_volumes, require_named_channels
from engine.segmentation.orientation import Reorientation
from engine.segmentation.preprocessing import NetworkImage, network_image
from engine.segmentation.region import Box, crop_to, with_context
from engine.segmentation.restoring import Restorer, unpadded
from engine.segmentation.result import Segmentation
from engine.segmentation.sliding_window import SlidingWindow
from engine.volume import CtVolume


class Segmenter:
    """A segmentation model with its networks open; close it, or use it in a ``with``.

    Parameters
    ----------
    model : Bundle or ModelManifest
    sessions : sequence of InferenceSession
        One for each member of the ensemble; closed with the segmenter.
    batch : int
        Patches in one call, where the network leaves it free; more only helps on a GPU.
    timings : tuple of BackendTiming
        What the backend was chosen by; empty where it was named.

    Raises
    ------
    ManifestError
        If it is not a segmentation model, if it has several channels without their names, or a network does not
        fit the manifest.
    """

    def __init__(
        self,
        model: Bundle | ModelManifest,
        sessions: Sequence[InferenceSession],
        *,
        batch: int = 1,
        timings: tuple[BackendTiming, ...] = (),
    ) -> None:
        sealed = model.sealed if isinstance(model, Bundle) else SealedManifest.of(model)
        self.manifest, self.identity = sealed.manifest, sealed.identity
        section = self.manifest.segmentation
        if section is None:
            raise ManifestError(
                f"{self.identity} is a {self.manifest.kind} model; give a segmentation model here"
            )
        require_named_channels(section, self.identity)
        if not sessions or batch < 1:
            raise InvalidRequestError("a segmenter needs a network and a batch of at least one patch")
        self.section: SegmentationSection = section
        self.timings = timings
        self._sessions = tuple(sessions)
        for session in sessions:
            _require_tensors(session, section, self.identity)
        self._window = SlidingWindow(section, self._sessions, batch)

    @property
    def backend(self) -> str:
        """Name and version of what computes."""
        return self._sessions[0].backend

    def segment(
        self,
        ct: CtVolume,
        *,
        around: Box | None = None,
        companions: ChannelSource | None = None,
        mirror: bool = False,
        probability: bool = True,
        on_progress: ItemProgress | None = None,
    ) -> Segmentation:
        """Segment a CT, or a region of it.

        Parameters
        ----------
        ct : CtVolume
            Its array axes are taken as they are, as nnU-Net takes them, slices along the first; a model
            whose manifest has an ``orientation`` sees it reoriented to that.
        around : Box, optional
            Only this region, as if the CT ended at its faces; where it is smaller than one patch of
            the network, the tissue around it fills the patch. The result is what nnU-Net gives for
            that crop. It equals the whole CT's inside the region only if the region is the whole
            CT: the grid of patches, and of the resampling, begins at the region.
        companions : callable, optional
            Gives what the network takes beside the CT, by name and on a grid (:data:`ChannelSource`).
        mirror : bool
            Average over mirrored patches, 2, 4 or 8 times the work.
        probability : bool
            Keep the probability of the labels that count too.
        on_progress : callable, optional
            ``on_progress(done, total)`` between patches; what it raises stops the work.

        Returns
        -------
        Segmentation

        Raises
        ------
        InvalidRequestError
            If the region holds no voxel of the CT, or ``companions`` lacks a volume.
        NotCtError, InvalidGeometryError
            If the CT is zero everywhere, or thinner than a voxel of the network.
        ModelError, BackendError
            If the network fails or does not return finite numbers.

        Notes
        -----
        Source: Isensee et al., Nat. Methods 18 (2021), and the code of nnU-Net 2.8.1 and 1.7.
        """
        turned, inverse = _turned(ct, self.section)
        segmentation = self._segment(turned, around, companions, mirror, probability, on_progress)
        if inverse.is_identity:
            return segmentation
        return _restored_orientation(segmentation, inverse, ct.geometry if around is None else None)

    def _segment(
        self,
        ct: CtVolume,
        around: Box | None,
        companions: ChannelSource | None,
        mirror: bool,
        probability: bool,
        on_progress: ItemProgress | None,
    ) -> Segmentation:
        """Segment a CT whose axes run as the network wants them."""
        region, context = self.crops(ct.geometry, around)
        image = _image(ct, context, self.section, companions)
        labels = np.zeros(context.shape_zyx, dtype=np.uint8)
        foreground = np.zeros(context.shape_zyx, dtype=np.float16) if probability else None
        forward, cut = self.section.transpose_forward, image.nonzero.slices
        restorer = Restorer(
            self.section,
            image.back,
            image.inside,
            labels.transpose(forward)[cut],
            None if foreground is None else foreground.transpose(forward)[cut],
        )
        for slab in self._window.slabs(image.voxels, mirror=mirror, on_progress=on_progress):
            restorer.take(slab)
        inner = region.within(context).slices
        labels = np.ascontiguousarray(labels[inner])
        labels.flags.writeable = False
        return Segmentation(
            labels,
            ct.geometry if around is None else ct.geometry.crop(region),
            self.section,
            self.identity,
            self.backend,
            self.patch_count(image),
            None if foreground is None else np.ascontiguousarray(foreground[inner]),
        )

    def logits(
        self,
        ct: CtVolume,
        *,
        around: Box | None = None,
        companions: ChannelSource | None = None,
        mirror: bool = False,
    ) -> Float32Array:
        """Outputs before they return to the CT, for comparisons; holds all of them.

        Returns
        -------
        ndarray of float32, (output, z, y, x)
            On the network's grid, axes and orientation; logits, or probabilities for version 1.

        Raises
        ------
        InputError, ModelError, BackendError
            As :meth:`segment`.
        """
        ct, _ = _turned(ct, self.section)
        _, context = self.crops(ct.geometry, around)
        image = _image(ct, context, self.section, companions)
        parts = (unpadded(slab, image.inside) for slab in self._window.slabs(image.voxels, mirror=mirror))
        return np.concatenate([part[1] for part in parts if part is not None], axis=1)

    def crops(self, geometry: VolumeGeometry, around: Box | None) -> tuple[VoxelBox, VoxelBox]:
        """The region asked for and the part of the CT that is read for it, along (z, y, x).

        Raises
        ------
        InvalidRequestError
            If the region holds no voxel of the CT.
        """
        if around is None:
            return VoxelBox.whole(geometry.shape_zyx), VoxelBox.whole(geometry.shape_zyx)
        region = crop_to(geometry, around)
        return region, with_context(region, geometry, self.section)

    def close(self) -> None:
        """Release the networks; a second call does nothing."""
        for session in self._sessions:
            session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def patch_count(self, image: NetworkImage) -> int:
        """Patches that cover an image."""
        z, y, x = self._window.positions(image.voxels.shape[1:])
        return len(z) * len(y) * len(x)


def open_segmenter(
    folder: Path,
    backend: str = "auto",
    precision: Precision = "fp32",
    *,
    batch: int = 1,
    plan_folder: Path | None = None,
) -> Segmenter:
    """Check a bundle and open its networks.

    Parameters
    ----------
    folder : Path
        ``models/<id>/<version>``.
    backend : str
        One of :data:`engine.runtime.backends.BACKENDS`; ``auto`` tries those that are here on the
        first network and takes the fastest that agrees with ONNX Runtime. :attr:`Segmenter.backend`
        says which that was, :attr:`Segmenter.timings` what was measured.
    precision : str
        A variant of the bundle.
    batch : int
        As for :class:`Segmenter`.
    plan_folder : Path, optional
        As for :func:`engine.runtime.backends.open_session`.

    Raises
    ------
    ManifestError, BundleIntegrityError, ModelError
        If the bundle must not be used, or is not a segmentation model.
    InvalidRequestError
        If there is no such backend.
    BackendError
        If its library or device is not there; nothing else is taken instead.
    """
    bundle = load_bundle(folder)
    if bundle.manifest.segmentation is None:
        raise ManifestError(f"{folder} is a {bundle.manifest.kind} model; give a segmentation model here")
    members = bundle.variant(precision)
    timings: tuple[BackendTiming, ...] = ()
    if backend == "auto":
        choice = fastest_backend(members[0], precision=precision, plan_folder=plan_folder)
        backend, timings = choice.backend, choice.timings
    with ExitStack() as opened:
        sessions = [
            opened.enter_context(open_session(member, backend, precision=precision, plan_folder=plan_folder))
            for member in members
        ]
        segmenter = Segmenter(bundle, sessions, batch=batch, timings=timings)
        opened.pop_all()
    return segmenter


def _turned(ct: CtVolume, section: SegmentationSection) -> tuple[CtVolume, Reorientation]:
    """A CT with its axes as the network wants them, and what turns them back."""
    reorientation = Reorientation.to(section.orientation, ct.geometry)
    if reorientation.is_identity:
        return ct, reorientation
    turned = CtVolume(reorientation.array(ct.voxels_hu), reorientation.geometry(ct.geometry))
    return turned, reorientation.inverse


def _image(
    ct: CtVolume, context: VoxelBox, section: SegmentationSection, companions: ChannelSource | None
) -> NetworkImage:
    """What the network sees of a part of the CT, all channels of it."""
    volumes = channel_volumes(section, ct.voxels_hu[context.slices], ct.geometry.crop(context), companions)
    return network_image(volumes, ct.geometry.spacing_zyx_mm, section)


def _restored_orientation(
    segmentation: Segmentation, inverse: Reorientation, own: VolumeGeometry | None
) -> Segmentation:
    """A segmentation on the axes of the CT; ``own`` is its grid where all of it was segmented."""
    labels = np.ascontiguousarray(inverse.array(segmentation.labels))
    labels.flags.writeable = False
    share = (
        None
        if segmentation.probability is None
        else np.ascontiguousarray(inverse.array(segmentation.probability))
    )
    return replace(
        segmentation,
        labels=labels,
        geometry=own or inverse.geometry(segmentation.geometry),
        probability=share,
    )


def _require_tensors(
    session: InferenceSession, section: SegmentationSection, identity: ModelIdentity
) -> None:
    """Require that a network takes one image and gives its logits, both of the manifest's patch shape."""
    patch = section.patch_shape
    for role, specs, name, channels in (
        ("takes", session.inputs, IMAGE, len(section.channels)),
        ("gives", session.outputs, LOGITS, section.output_count),
    ):
        tensor = next((spec for spec in specs if spec.name == name), None)
        fits = tensor is not None and len(tensor.shape) == 5
        if tensor is None or not fits or not _agree(tensor.shape[1:], (channels, *patch)):
            raise ManifestError(
                f"{identity}: its manifest says that the network {role} {name} of (batch, {channels}, "
                f"{', '.join(map(str, patch))}), its file says otherwise; export it again"
            )


def _agree(shape: tuple[int | str, ...], expected: tuple[int, ...]) -> bool:
    """Whether every size is the expected one, or free."""
    pairs = zip(shape, expected, strict=True)
    return all(isinstance(size, str) or size == wanted for size, wanted in pairs)

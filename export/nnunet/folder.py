"""What lies in a trained model's folder: its folds with their checkpoints, and a postprocessing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from engine.errors import SourceModelError

_ALL: Final = "all"
"""The fold that was trained on every case."""

_CHECKPOINT_ENDINGS: Final = (".pth", ".model")
_POSTPROCESSINGS: Final = ("postprocessing.pkl", "postprocessing.json")


def fold_checkpoints(folder: Path, folds: Sequence[int | str] | None, checkpoint: str) -> dict[str, Path]:
    """Checkpoints by fold: those asked for, or all there are.

    Parameters
    ----------
    folder : Path
        Of the model; holds a folder for each fold, ``fold_0`` or (version 1) ``all``.
    folds : sequence of int or str, optional
        By default every fold; then none may lack its checkpoint, and ``all`` must be alone.
    checkpoint : str
        File name in each.

    Raises
    ------
    SourceModelError
        If there is none, or one would be left out that nobody asked to leave out.
    """
    present = {path.name.removeprefix("fold_"): path for path in sorted(folder.iterdir()) if _is_fold(path)}
    trained = {fold: path / checkpoint for fold, path in present.items() if (path / checkpoint).is_file()}
    chosen = list(present) if folds is None else [str(fold) for fold in folds]
    lacking = [fold for fold in chosen if fold not in trained]
    if lacking or not chosen:
        raise SourceModelError(_missing(folder, checkpoint, present, trained, lacking))
    if folds is None and _ALL in chosen and len(chosen) > 1:
        numbered = [fold for fold in chosen if fold != _ALL]
        raise SourceModelError(
            f"{folder} holds the folds {', '.join(numbered)} and one trained on all cases; say which to export: "
            f"--folds {','.join(numbered)} or --folds {_ALL}"
        )
    return {fold: trained[fold] for fold in chosen}


def postprocessing_not_applied(folder: Path) -> tuple[str, ...]:
    """What to assume of a postprocessing that nnU-Net chose for the model; nothing if there is none.

    Its files lie in the folder (version 1) or in that of the cross-validation (version 2).
    """
    found = sorted({path.name for name in _POSTPROCESSINGS for path in folder.rglob(name)})
    if not found:
        return ()
    said = (
        f"{', '.join(found)} of the folder is not applied: nnU-Net keeps the largest part alone of the labels named "
        "there, so that its own figures can be better than those of the masks made here."
    )
    return (said,)


def _is_fold(path: Path) -> bool:
    return path.is_dir() and (path.name.startswith("fold_") or path.name == _ALL)


def _missing(
    folder: Path, checkpoint: str, present: dict[str, Path], trained: dict[str, Path], lacking: list[str]
) -> str:
    """Which folds lack the checkpoint, what they hold instead, and what would work."""
    if not lacking:
        return f"{folder} has no fold (fold_0, …); give a trained model's folder"
    others = {fold: _checkpoints(present[fold]) if fold in present else [] for fold in lacking}
    found = "; ".join(f"fold {fold} has {', '.join(names) or 'none'}" for fold, names in others.items())
    candidates = [*others.values(), *(_checkpoints(present[fold]) for fold in trained)]
    everywhere = set.intersection(*(set(names) for names in candidates)) - {checkpoint}
    ways = [f"--checkpoint {name}" for name in sorted(everywhere)[:1]]
    ways += [f"--folds {','.join(trained)} to leave out the rest"] if trained else []
    advice = f"give {', or '.join(ways)}" if ways else "give a folder whose training has ended"
    return f"{folder} has no {checkpoint} for the folds {', '.join(lacking)} ({found}); {advice}"


def _checkpoints(fold: Path) -> list[str]:
    """File names of a fold's checkpoints; the best one comes before the latest."""
    return sorted(path.name for path in fold.iterdir() if path.suffix in _CHECKPOINT_ENDINGS)

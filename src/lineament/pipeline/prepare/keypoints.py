"""Keypoints and depths of 3DFAW as arrays, equal to those of the published preparation."""

from __future__ import annotations

from pathlib import Path

from lineament.data.keypoint_depth import read_arrays, write_arrays
from lineament.data.readers.threedfaw import SPLITS, entries, read_layout
from lineament.progress import Progress, silent


def prepare_keypoints(root: Path, out: Path, overwrite: bool = False, progress: Progress = silent) -> str:
    """Write ``train.npz``, ``valid.npz``, ``test.npz``; those that are there are kept unless ``overwrite``.

    Args:
        root: The data set (data/readers/threedfaw.py).
        out: Folder to write.
        overwrite: Write again what is there.
        progress: Shows progress.

    Returns:
        One line per file, for people.

    Raises:
        DataError: Naming the first file that is missing or wrong; files of finished splits stay.
    """
    lines = []
    for split in SPLITS:
        path = out / f"{split}.npz"
        if path.is_file() and not overwrite:
            lines.append(f"{path} was written before: {len(read_arrays(path))} faces")
            continue
        with progress(f"reading {split}", len(entries(root, split)), "faces") as step:
            faces = read_layout(root, split, step)
        write_arrays(path, faces)
        lines.append(f"wrote {len(faces)} faces to {path}")
    return "\n".join(lines)

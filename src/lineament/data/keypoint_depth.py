"""Keypoints with depth in the form that DepthNets take: the same record from 3DFAW and from the synthetic world.

Keypoints are divided by width and height of their image, depths by half the sum of both; nothing is centred.
Depths grow away from the camera; where their zero lies is left to the data set.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lineament.data.sample import FaceSample, FaceSource
from lineament.data.subset import Subset, digest
from lineament.errors import DataError
from lineament.faces.schemes import convert_points
from lineament.files import replacing

SCHEME = "66"
ORIENTATIONS = ("left", "center", "right")


@dataclass(frozen=True)
class KeypointSet:
    """Faces as arrays.

    Attributes:
        ids: ``N`` names.
        keypoints: ``[N, K, 2]`` float32 xy over the image's size.
        depth: ``[N, K]`` float32 over half the sum of width and height, or None.
        orientations: ``N`` words of :data:`ORIENTATIONS`, or None.
        sizes: ``[N, 2]`` int64 width and height of the images in pixels.
    """

    ids: tuple[str, ...]
    keypoints: Tensor
    depth: Tensor | None
    orientations: tuple[str, ...] | None
    sizes: Tensor

    def __post_init__(self) -> None:
        """Raise ``DataError`` when the parts do not describe the same faces."""
        count, points = self.keypoints.shape[:2]
        fits = (
            len(self.ids) == count
            and self.sizes.shape == (count, 2)
            and (self.depth is None or self.depth.shape == (count, points))
            and (self.orientations is None or len(self.orientations) == count)
        )
        if not fits or not bool(torch.isfinite(self.keypoints).all()):
            raise DataError(f"the keypoint arrays of {count} faces do not fit together, or are not finite.")

    def __len__(self) -> int:
        return len(self.ids)

    def first(self, count: int) -> KeypointSet:
        """The first ``count`` faces."""
        return self.take(range(min(count, len(self))))

    def take(self, indices: Sequence[int]) -> KeypointSet:
        """The faces ``indices``, in that order."""
        rows = torch.as_tensor(list(indices), dtype=torch.long)
        turned = self.orientations
        return KeypointSet(
            tuple(self.ids[index] for index in indices),
            self.keypoints[rows],
            None if self.depth is None else self.depth[rows],
            None if turned is None else tuple(turned[index] for index in indices),
            self.sizes[rows],
        )


class KeypointFaces:
    """Faces without images as a source of samples; each image is black and takes no memory.

    Args:
        name: Data set and split.
        faces: The arrays, in the scheme "66".
    """

    def __init__(self, name: str, faces: KeypointSet) -> None:
        self.name = name
        self.faces = faces
        parts = [faces.keypoints.numpy().tobytes(), faces.sizes.numpy().tobytes()]
        if faces.depth is not None:
            parts.append(faces.depth.numpy().tobytes())
        self.fingerprint = digest("keypoints", faces.ids, faces.orientations, *(part.hex() for part in parts))

    def __len__(self) -> int:
        return len(self.faces)

    def __getitem__(self, index: int) -> FaceSample:
        if not 0 <= index < len(self):
            raise IndexError(f"face {index} of {len(self)}")
        faces = self.faces
        width, height = faces.sizes[index].tolist()
        meta: dict[str, object] = {
            "keypoint_record": (
                faces.keypoints[index],
                None if faces.depth is None else faces.depth[index],
            )
        }
        if faces.orientations is not None:
            meta["orientation"] = faces.orientations[index]
        return FaceSample(
            id=faces.ids[index],
            image=torch.zeros(1, 1, 1).expand(3, height, width),
            landmarks=faces.keypoints[index] * faces.sizes[index],
            scheme=SCHEME,
            meta=meta,
        )


def keypoint_record(sample: FaceSample) -> tuple[Tensor, Tensor | None]:
    """Keypoints ``[66, 2]`` and depths ``[66]`` (None where unknown) of a sample.

    Where a sample of scheme ``68`` also has fixed places (``meta["landmarks_3d"]``: ``[68, 3]`` pixels and millimetres
    from the camera, scheme ``68-3d``), those are taken: a point that slides along the outline has no depth of its own.
    Depths are taken from ``meta["landmark_z"]`` (``[K]`` pixels, as 3DFAW has them) or, with a camera, from
    ``meta["landmark_depth"]`` (``[K]`` millimetres from the camera), which is scaled to pixels at the mean depth.

    Raises:
        DataError: If the sample has no landmarks, one is missing, or they cannot become 66 points.
    """
    ready = sample.meta.get("keypoint_record")
    if ready is not None:
        return ready
    if sample.landmarks is None or sample.scheme is None:
        raise DataError(f"{sample.id} has no landmarks: depth needs keypoints of scheme 68 or 66.")
    height, width = sample.image.shape[-2:]
    fixed = sample.meta.get("landmarks_3d") if sample.scheme == "68" else None
    points = sample.landmarks.double() if fixed is None else fixed[:, :2].double()
    z = _depth_px(sample, sample.meta.get("landmark_depth") if fixed is None else fixed[:, 2])
    if z is not None:
        points = torch.cat([points, z[:, None]], dim=1)
    if sample.scheme != SCHEME:
        points = convert_points(points, sample.scheme, SCHEME)
    if not bool(torch.isfinite(points[:, :2]).all()):
        missing = int((~torch.isfinite(points[:, :2]).all(-1)).sum())
        raise DataError(f"{sample.id} lacks {missing} of {len(points)} keypoints: depth needs all of them.")
    keypoints = points[:, :2] / torch.tensor([width, height], dtype=torch.float64)
    depth = None if z is None else (points[:, 2] / (0.5 * (width + height))).float()
    return keypoints.float(), depth


def _depth_px(sample: FaceSample, millimetres: Tensor | None) -> Tensor | None:
    """Depth of the landmarks in pixels, float64, or None; ``millimetres`` are their distances from the camera."""
    z = sample.meta.get("landmark_z")
    if z is not None:
        return torch.as_tensor(z, dtype=torch.float64)
    if millimetres is None or sample.camera is None:
        return None
    return depth_in_pixels(torch.as_tensor(millimetres).double(), float(sample.camera.intrinsics[0, 0]))


def depth_in_pixels(depth: Tensor, focal: float) -> Tensor:
    """Camera depths ``[K]`` in mm -> pixels about their mean, as a scaled orthographic camera there would see them."""
    mean = depth.mean()
    return (depth - mean) * (focal / mean)


def collect(source: FaceSource, count: int | None = None) -> KeypointSet:
    """Read the keypoints of a source, without its images where it can do without.

    Args:
        source: Any source with landmarks of scheme "68" or "66".
        count: Only the first so many; None takes all.

    Raises:
        DataError: If a sample has no landmarks.
    """
    number = len(source) if count is None else min(count, len(source))
    if isinstance(source, KeypointFaces):
        return source.faces.first(number)
    if isinstance(source, Subset) and isinstance(source.source, KeypointFaces):
        return source.source.faces.take(source.indices[:number])
    samples = [source[index] for index in range(number)]
    records = [keypoint_record(sample) for sample in samples]
    depths = [depth for _, depth in records if depth is not None]
    turned = [str(sample.meta.get("orientation", "")) for sample in samples]
    return KeypointSet(
        tuple(sample.id for sample in samples),
        torch.stack([keypoints for keypoints, _ in records]),
        torch.stack(depths) if len(depths) == number else None,
        tuple(turned) if all(word in ORIENTATIONS for word in turned) else None,
        torch.tensor([sample.image.shape[:0:-1] for sample in samples]),
    )


def write_arrays(path: Path, faces: KeypointSet) -> Path:
    """Write ``ids``, ``y_keypts``, ``z_keypts``, ``orientations``, ``sizes`` as one ``.npz``, less what is unknown."""
    arrays = {"ids": np.array(faces.ids), "y_keypts": faces.keypoints.numpy(), "sizes": faces.sizes.numpy()}
    if faces.depth is not None:
        arrays["z_keypts"] = faces.depth.numpy()
    if faces.orientations is not None:
        arrays["orientations"] = np.array(faces.orientations)
    with replacing(path) as temporary:
        np.savez(temporary, allow_pickle=False, **arrays)
    return path


def read_arrays(path: Path) -> KeypointSet:
    """Read what :func:`write_arrays` or the published ``prepare_dataset`` wrote.

    Raises:
        DataError: If the file is missing, damaged, or lacks the arrays.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            if "y_keypts" not in file.files:
                raise DataError(f"{path} holds no y_keypts: prepare it with `lineament data prepare 3dfaw`.")
            arrays = {key: file[key] for key in file.files}
    # numpy raises whatever its zip and header parsers meet.
    except (OSError, ValueError, EOFError, KeyError, SyntaxError) as error:
        raise DataError(f"{path} cannot be read as keypoint arrays: {error}.") from error
    keypoints = torch.from_numpy(np.ascontiguousarray(arrays["y_keypts"], dtype=np.float32))
    if keypoints.ndim != 3 or keypoints.shape[2] != 2:
        raise DataError(f"y_keypts of {path} has shape {tuple(keypoints.shape)}, not [N, K, 2].")
    count = len(keypoints)
    depth = arrays.get("z_keypts")
    words = arrays.get("orientations")
    ids = arrays.get("ids", np.array([f"{number:06d}" for number in range(count)]))
    # The published files do not tell the size of the images; 1000 stands for it.
    sizes = arrays.get("sizes", np.full((count, 2), 1000))
    return KeypointSet(
        tuple(_word(value) for value in ids),
        keypoints,
        None if depth is None else torch.from_numpy(np.ascontiguousarray(depth, dtype=np.float32)),
        None if words is None else tuple(_word(value) for value in words),
        torch.from_numpy(sizes.astype(np.int64)),
    )


def _word(value: object) -> str:
    """Text of a numpy string, of either kind."""
    return value.decode() if isinstance(value, bytes) else str(value)

"""The surface of a volume that is seen slice by slice, so that its size does not bound the memory.

The volume is smoothed with a Gaussian and cut by marching cubes, in blocks of slices whose surfaces are sewn together:
the result is that of the whole volume at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy import ndimage, sparse
from scipy.spatial import cKDTree
from skimage.measure import marching_cubes

from lineament.errors import DataError, UsageError

# Standard deviations to which the Gaussian reaches, as scipy has it.
_REACH = 4.0
# Vertices of two blocks are one where they are as near as this, in steps of the grid.
_SEAM = 1e-3


@dataclass(frozen=True)
class Surface:
    """A mesh of triangles.

    Attributes:
        vertices: ``[V, 3]`` float32: column, row and slice in the volume.
        faces: ``[F, 3]`` int64 vertices of each triangle, counter-clockwise as seen from where values are lower, in a
            frame with columns to the right, rows down and slices away from the viewer.
    """

    vertices: np.ndarray
    faces: np.ndarray


def extract_surface(
    slices: Iterable[np.ndarray], level: float, *, sigma: float = 0.0, block: int = 32
) -> Surface:
    """Find where a smoothed volume crosses a level.

    The volume is mirrored at its borders for smoothing. The surface is open where it reaches them.

    Args:
        slices: Arrays ``[H, W]`` of one size, the nearest first; at least two.
        level: The surface lies where smoothed values are this.
        sigma: Standard deviation of the Gaussian in steps of the grid; 0 leaves the volume as it is.
        block: Slices that are cut at once; it changes memory and time alone.

    Raises:
        DataError: If sizes differ, there are fewer than two slices, rows or columns, or the volume is thinner than the
            Gaussian reaches.
        UsageError: If sigma or block is impossible.
    """
    if not (0 <= sigma < float("inf") and block >= 1):
        raise UsageError(f"sigma={sigma} must be 0 or more and block={block} at least 1.")
    vertices: list[np.ndarray] = []
    faces: list[np.ndarray] = []
    border = _Border()
    count = first = 0
    for part in _blocks(_smooth_slices(slices, sigma), sigma, block):
        found = _cut(part, level)
        if found is None:
            border = _Border()
        else:
            points, triangles = found
            numbers, new = border.join(points, count)
            placed = points[new] + np.array([0, 0, first], np.float32)
            vertices.append(placed.astype(np.float32))
            faces.append(numbers[triangles])
            border = _Border(points, numbers, len(part) - 1)
            count += int(new.sum())
        first += len(part) - 1
    if not vertices:
        return Surface(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int64))
    all_faces = np.concatenate(faces)
    a, b, c = all_faces.T
    return Surface(np.concatenate(vertices), all_faces[(a != b) & (b != c) & (c != a)])


def largest_component(surface: Surface) -> Surface:
    """The connected part of a surface with the most triangles; the first of equals."""
    if not len(surface.faces):
        return surface
    a, b, c = surface.faces.T
    edges = np.ones(2 * len(a), np.bool_)
    size = len(surface.vertices)
    graph = sparse.coo_array((edges, (np.concatenate([a, b]), np.concatenate([b, c]))), (size, size))
    _, labels = sparse.csgraph.connected_components(graph, directed=False)
    of_faces = labels[a]
    kept = surface.faces[of_faces == np.bincount(of_faces).argmax()]
    used = np.zeros(size, np.bool_)
    used[kept.ravel()] = True
    return Surface(surface.vertices[used], (np.cumsum(used) - 1)[kept])


def _smooth_slices(slices: Iterable[np.ndarray], sigma: float) -> Iterator[np.ndarray]:
    """Each slice smoothed within itself."""
    shape: tuple[int, ...] | None = None
    for each in slices:
        if each.ndim != 2 or min(each.shape) < 2 or (shape is not None and each.shape != shape):
            raise DataError(
                f"slices of a volume must be [H, W] of one size, at least 2 x 2, got {each.shape}."
            )
        shape = each.shape
        plain = each.astype(np.float32)
        flat = plain.min() == plain.max()
        yield plain if flat or not sigma else ndimage.gaussian_filter(plain, sigma, truncate=_REACH)


def _blocks(slices: Iterator[np.ndarray], sigma: float, block: int) -> Iterator[np.ndarray]:
    """Blocks of at most ``block + 1`` slices, smoothed across; the last of one is the first of the next."""
    reach = int(_REACH * sigma + 0.5)
    steps = np.arange(-reach, reach + 1)
    taps = np.exp(-0.5 * (steps / sigma) ** 2) if sigma else np.ones(1)
    taps = (taps / taps.sum()).astype(np.float32)
    window: deque[np.ndarray] = deque()
    kept: np.ndarray | None = None
    total = 0
    for each in _mirrored(slices, reach):
        window.append(each)
        if len(window) == block + 2 * reach:
            smoothed = _across(window, taps)
            joined = smoothed if kept is None else np.concatenate([kept, smoothed])
            total += len(smoothed)
            kept = joined[-1:].copy()
            for _ in range(block):
                window.popleft()
            if len(joined) > 1:
                yield joined
    if len(window) > 2 * reach:
        smoothed = _across(window, taps)
        joined = smoothed if kept is None else np.concatenate([kept, smoothed])
        total += len(smoothed)
        if len(joined) > 1:
            yield joined
    if total < 2:
        raise DataError(f"a volume needs at least two slices, got {total}.")


def _across(window: deque[np.ndarray], taps: np.ndarray) -> np.ndarray:
    """Smooth ``[n + taps - 1, H, W]`` across the slices: ``[n, H, W]``."""
    count, flat = len(window) - len(taps) + 1, np.stack(window)
    weights = np.zeros((count, len(window)), np.float32)
    for row in range(count):
        weights[row, row : row + len(taps)] = taps
    return (weights @ flat.reshape(len(flat), -1)).reshape(count, *flat.shape[1:])


def _mirrored(slices: Iterator[np.ndarray], reach: int) -> Iterator[np.ndarray]:
    """The slices, and ``reach`` more before and behind, mirrored (the outermost twice)."""
    if not reach:
        yield from slices
        return
    head: list[np.ndarray] = []
    for each in slices:
        head.append(each)
        if len(head) >= reach:
            break
    if len(head) < reach:
        raise DataError(
            f"a volume of {len(head)} slices is thinner than the Gaussian reaches ({reach}): smooth less."
        )
    yield from reversed(head)
    tail: deque[np.ndarray] = deque(head, maxlen=reach)
    yield from head
    for each in slices:
        tail.append(each)
        yield each
    yield from reversed(tail)


def _cut(volume: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray] | None:
    """Vertices (column, row, slice) and triangles of a block; None where it does not cross the level."""
    inside = volume > level
    if inside.all() or not inside.any():
        return None
    # What lies around the surface: cells whose corners are not all inside or all outside.
    some, every = np.any(inside, 0), np.all(inside, 0)
    mixed: np.ndarray = some & ~every
    for axis in (0, 1):
        step = np.diff(some, axis=axis) | np.diff(every, axis=axis)
        pad = [(0, 0), (0, 0)]
        for side in ((0, 1), (1, 0)):
            pad[axis] = side
            mixed |= np.pad(step, pad)
    rows, columns = np.flatnonzero(mixed.any(1)), np.flatnonzero(mixed.any(0))
    top, left = max(int(rows[0]) - 1, 0), max(int(columns[0]) - 1, 0)
    part = volume[:, top : int(rows[-1]) + 2, left : int(columns[-1]) + 2]
    vertices, triangles, _, _ = marching_cubes(np.ascontiguousarray(part), level)
    # Slice, row, column: reading them backwards mirrors the frame, which skimage's own order of corners undoes.
    points = vertices[:, ::-1] + np.array([left, top, 0], np.float32)
    return points, triangles.astype(np.int64)


class _Border:
    """The vertices on the last slice of a block, to which the next block is sewn.

    Args:
        points: ``[V, 3]`` of the block, slices counted in it.
        numbers: Of its vertices in the whole surface.
        last: Its last slice.
    """

    def __init__(
        self, points: np.ndarray | None = None, numbers: np.ndarray | None = None, last: int = 0
    ) -> None:
        self.tree: cKDTree | None = None
        if points is None or numbers is None:
            return
        on_it = points[:, 2] == last
        if on_it.any():
            self.tree, self.numbers = cKDTree(points[on_it, :2]), numbers[on_it]

    def join(self, points: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Number the vertices of the next block: those on its first slice as here, others from ``count`` on.

        Returns:
            ``[V]`` numbers, and which vertices are new.
        """
        numbers, new = np.empty(len(points), np.int64), np.ones(len(points), np.bool_)
        first = np.flatnonzero(points[:, 2] == 0)
        if self.tree is not None and len(first):
            distance, nearest = self.tree.query(points[first, :2], distance_upper_bound=_SEAM)
            met = np.isfinite(distance)
            new[first[met]] = False
            numbers[first[met]] = self.numbers[nearest[met]]
        numbers[new] = count + np.arange(int(new.sum()))
        return numbers, new

"""Is the depth of faces in photos plausible? A check that needs no labels.

Whoever a face belongs to: seen from the front, the tip of the nose lies in front of the outer eye corners, and the two
upper ends of the jaw line, before the ears, lie behind them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor

from lineament.data.images import read_image
from lineament.data.subset import digest
from lineament.errors import DataError
from lineament.faces.schemes import convert_points, scheme
from lineament.heads.fit import HeadFit, fit_head
from lineament.metrics.card import MetricCard
from lineament.pipeline.evaluate.depth_options import FRONTAL_DEGREES
from lineament.pipeline.turn.depth import framed_keypoints, load_depth_run, network_depth
from lineament.pipeline.turn.run import FaceRequest
from lineament.progress import Progress, silent
from lineament.report.figures import save_figure, show_image

# Other faces that stand as targets where a network's depth of a face depends on one.
TARGETS = 32
DEFINITION = (
    "share of frontal faces whose nose tip is nearer than both outer eye corners and whose two upper ends of the jaw "
    "line are farther than both"
)


@dataclass(frozen=True)
class FoundFaces:
    """Main faces of some photos.

    Attributes:
        photos: ``N`` files.
        points: ``[N, 68, 2]`` keypoints in pixels.
        fits: A head fitted to each.
        left_out: Why a photo is missing, a sentence each.
    """

    photos: tuple[Path, ...]
    points: Tensor
    fits: tuple[HeadFit, ...]
    left_out: tuple[str, ...]


@dataclass(frozen=True)
class PhotoFaces:
    """Main faces of some photos with depth by a network.

    Attributes:
        photos: ``N`` files.
        points: ``[N, 68, 2]`` keypoints in pixels.
        poses: ``[N, 3]`` yaw, pitch, roll in radians of a head fitted to them.
        depth: ``[N, 66]`` the network's own depth, in sides of the image it sees.
        shown: ``[N, 68]`` pixels: the depth as `lineament depth` gives it, fitted to the head.
        left_out: Why a photo is missing, a sentence each.
        run: The run, and the recipe it is of.
    """

    photos: tuple[Path, ...]
    points: Tensor
    poses: Tensor
    depth: Tensor
    shown: Tensor
    left_out: tuple[str, ...]
    run: str

    def frontal(self, degrees: float = FRONTAL_DEGREES) -> Tensor:
        """Which faces look to the camera but for so much yaw, ``[N]`` bool."""
        return self.poses[:, 0].abs() <= math.radians(degrees)


def find_faces(photos: Sequence[Path], request: FaceRequest, *, progress: Progress = silent) -> FoundFaces:
    """Find the main face of each photo, its keypoints and its pose.

    Args:
        photos: Image files.
        request: Where keypoints come from, and the head that tells the pose.
        progress: Shows how far it is.

    Raises:
        DataError: If no photo shows a face that can be used.
    """
    kept, points, fits, left_out = [], [], [], []
    with progress("finding faces", len(photos), "images") as advance:
        for photo in photos:
            try:
                found = request.points(read_image(photo), photo).points.double()
                fits.append(fit_head(request.head, found))
                kept.append(photo)
                points.append(found)
            except DataError as error:
                left_out.append(str(error) if photo.name in str(error) else f"{photo.name}: {error}")
            advance()
    if not kept:
        raise DataError(f"none of {len(photos)} photos can be used; the first: {left_out[0]}")
    return FoundFaces(tuple(kept), torch.stack(points), tuple(fits), tuple(left_out))


def predict_depth(run: Path, found: FoundFaces) -> PhotoFaces:
    """Predict the depth of the keypoints of faces.

    Args:
        run: Run directory of a depthnet recipe.
        found: The faces.

    Raises:
        CheckpointError: If the run is of another method or damaged.
    """
    opened, predictor = load_depth_run(str(run))
    fixed = [fit.to_fixed(each) for fit, each in zip(found.fits, found.points, strict=True)]
    faces = torch.stack([framed_keypoints(each) for each in fixed]).float()
    every = max(1, len(faces) // TARGETS)
    depth = predictor.own_depth(faces, faces[::every][:TARGETS])
    shown = [
        network_depth(fit, each, opened, predictor).values
        for fit, each in zip(found.fits, found.points, strict=True)
    ]
    return PhotoFaces(
        found.photos,
        found.points,
        torch.stack([fit.pose for fit in found.fits]),
        depth,
        torch.stack(shown),
        found.left_out,
        f"{opened.folder.name} ({opened.recipe})",
    )


def plausible(depth: Tensor) -> tuple[Tensor, Tensor]:
    """Whether the nose lies in front of the eye corners, and the jaw ends behind them.

    Args:
        depth: ``[N, 66]`` or ``[N, 68]``, larger away from the camera.

    Returns:
        ``[N]`` bool each.
    """
    layout = scheme(str(depth.shape[1]))
    eyes = depth[:, layout.ocular_points()]
    nose_in_front = depth[:, layout.index("nose_tip")] < eyes.amin(1)
    jaw_ends = layout.indices("jaw_end_left", "jaw_end_right")
    return nose_in_front, depth[:, jaw_ends].amin(1) > eyes.amax(1)


def plausibility_card(faces: PhotoFaces, name: str, degrees: float = FRONTAL_DEGREES) -> MetricCard:
    """The share of plausible faces among the frontal ones.

    Args:
        faces: The faces.
        name: Of the images.
        degrees: Largest yaw of a frontal face.

    Raises:
        DataError: If no face is frontal.
    """
    frontal = faces.frontal(degrees)
    count = int(frontal.sum())
    if not count:
        raise DataError(f"none of {len(frontal)} faces is within {degrees:g} degrees of frontal.")

    def share(passed: Tensor) -> float:
        return round(100 * float(passed.double().mean()), 2)

    nose, jaw = plausible(faces.depth)
    flipped_nose, flipped_jaw = plausible(-faces.depth)
    after_fit = torch.stack(plausible(faces.shown)).all(0)
    failed = torch.nonzero(frontal & ~(nose & jaw)).flatten().tolist()
    return MetricCard(
        name="plausible depth",
        value=share((nose & jaw)[frontal]),
        unit="% of frontal faces",
        definition=DEFINITION,
        protocol=(
            f"main face of each photo, yaw of a fitted head within {degrees:g} degrees; the network's own depth, "
            "nothing fitted afterwards"
        ),
        count=count,
        data=name,
        fingerprint=digest("photos", *(str(photo.name) for photo in faces.photos)),
        details={
            "nose_in_front": share(nose[frontal]),
            "jaw_ends_behind": share(jaw[frontal]),
            "with_the_opposite_sign": share((flipped_nose & flipped_jaw)[frontal]),
            "as_lineament_depth_shows_it": share(after_fit[frontal]),
            "all_faces": {"plausible": share(nose & jaw), "faces": len(frontal)},
            "left_out": list(faces.left_out),
            "failed": [faces.photos[row].name for row in failed],
        },
    )


def summary(card: MetricCard) -> str:
    """What the card's details say, for a terminal."""
    d = card.details
    return (
        f"  in parts    nose in front {d['nose_in_front']:g} %, jaw ends behind {d['jaw_ends_behind']:g} %\n"
        f"  sign        {d['with_the_opposite_sign']:g} % with the opposite sign; "
        f"{d['as_lineament_depth_shows_it']:g} % as `lineament depth` shows it, fitted to a head\n"
        f"  all poses   {d['all_faces']['plausible']:g} % of {d['all_faces']['faces']} faces; "
        f"{len(d['left_out'])} photos left out"
    )


def draw_sheet(
    faces: PhotoFaces, path: Path, degrees: float = FRONTAL_DEGREES, most: int = 32, columns: int = 8
) -> Path:
    """Draw faces with keypoints coloured by the network's own depth, near ones yellow; failed faces come first.

    Args:
        faces: The faces; frontal ones are drawn.
        path: The PNG to write.
        degrees: Largest yaw of a frontal face.
        most: Faces drawn at most; half of them may be failed ones.
        columns: Faces in a row.
    """
    passed = torch.stack(plausible(faces.depth)).all(0)
    rows = torch.nonzero(faces.frontal(degrees)).flatten()
    bad, good = rows[~passed[rows]].tolist(), rows[passed[rows]].tolist()
    bad = bad[: max(most // 2, most - len(good))]
    wanted = most - len(bad)
    good = good[:: max(1, len(good) // max(wanted, 1))][:wanted]
    chosen = bad + good
    columns = min(columns, len(chosen))
    height = math.ceil(len(chosen) / columns)
    figure = Figure(figsize=(1.5 * columns, 1.75 * height), layout="constrained")
    panels = figure.subplots(height, columns, squeeze=False).reshape(-1)
    for axes in panels:
        axes.set_axis_off()
    for axes, row in zip(panels, chosen, strict=False):
        points = faces.points[row]
        low, high = points.amin(0), points.amax(0)
        margin = 0.12 * float((high - low).max())
        show_image(axes, read_image(faces.photos[row]))
        x, y = convert_points(points, "68", "66").T.numpy()
        axes.scatter(
            x, y, c=faces.depth[row].numpy(), cmap="plasma_r", s=9, edgecolors="black", linewidths=0.3
        )
        axes.set_xlim(float(low[0]) - margin, float(high[0]) + margin)
        axes.set_ylim(float(high[1]) + margin, float(low[1]) - margin)
        yaw = math.degrees(float(faces.poses[row, 0]))
        verdict = "plausible" if bool(passed[row]) else "NOT plausible"
        axes.set_title(f"{verdict}, yaw {yaw:.0f}", fontsize=6, color="black" if bool(passed[row]) else "red")
    numbers = {
        "photos": [faces.photos[row].name for row in chosen],
        "depth": faces.depth[chosen],
        "run": faces.run,
    }
    return save_figure(figure, path, numbers)

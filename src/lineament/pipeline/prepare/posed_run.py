"""Makes the images and camera poses that a GMPI is trained on from any photos (docs/methods/gmpi.md).

The folder that results is one of EG3D's: images, and ``dataset.json`` with the camera of each. It is written photo by
photo and may be interrupted at any moment; until it is whole no reader takes it.
"""

from __future__ import annotations

import csv
import io
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from PIL import ImageDraw
from torch import Tensor

from lineament.data.images import read_image
from lineament.data.sample import FaceSource
from lineament.data.subset import sample_digest, sample_id
from lineament.eight_bit import from_pil, to_pil
from lineament.errors import DataError, LineamentError
from lineament.faces.crops import named_crop
from lineament.faces.labels.cells import guard
from lineament.faces.schemes import scheme
from lineament.files import write_text
from lineament.geometry.rotation import pose_from_matrix
from lineament.methods.gmpi.datasets import eg3d_labels, mirrored_eg3d_labels
from lineament.methods.gmpi.pose_formats import (
    DATASET_JSON,
    read_dataset_json,
    stem,
    write_coefficients,
    write_dataset_json,
)
from lineament.methods.gmpi.pose_labels import estimate_scene, mirrored
from lineament.parallel import ordered_map
from lineament.pipeline.predict.results import run_digest
from lineament.pipeline.prepare.files import LEFT_OUT, write_left_out
from lineament.pipeline.prepare.options import PosedOptions, PrepareOptions
from lineament.pipeline.prepare.posed import PosedCutter
from lineament.pipeline.prepare.posed_files import (
    AGAIN,
    COEFFICIENTS,
    FACES,
    SHEET,
    Journal,
    claimed,
    finished,
    image_names,
    is_whole,
    name_images,
    read_journal,
    remove,
)
from lineament.progress import Progress, silent
from lineament.report.contact_sheet import contact_sheet, write_sheet

CHUNK = 8
# Images of the sheet, and the side of each in pixels.
SHOWN, TILE = 64, 128
# Raised when what a line of the journal holds changes.
LAYOUT = 2


@dataclass
class PosedReport:
    """What a run did.

    Attributes:
        out: The folder.
        photos: Photos of the data set.
        skipped: Photos that were done before.
        faces: Photos whose face was taken.
        mirrored: Whether each image is there mirrored too.
        left_out: Kind of reason -> photos.
        enlarged: Faces with fewer pixels than the images.
        grey: Grey photos, which became three equal channels.
        transparent: Photos with transparency, which was laid on white.
        several: Photos with several faces.
        spread: Mean and standard deviation of yaw, pitch and roll over the photos, degrees.
        scene: What `train gmpi-folder` takes where nothing else is asked, by field.
    """

    out: Path
    photos: int
    skipped: int
    faces: int
    mirrored: bool
    left_out: Counter[str] = field(default_factory=Counter)
    enlarged: int = 0
    grey: int = 0
    transparent: int = 0
    several: int = 0
    spread: dict[str, tuple[float, float]] = field(default_factory=dict)
    scene: dict[str, float] = field(default_factory=dict)

    def summary(self) -> str:
        """Say the result in a few lines."""
        before = f" ({self.skipped} photos were done before)" if self.skipped else ""
        twice = ", each also mirrored," if self.mirrored else ""
        lines = [f"wrote {self.faces} faces{twice} of {self.photos} photos to {self.out}{before}"]
        told = {
            "with fewer pixels than the images, enlarged": self.enlarged,
            "with several faces, of which the largest was taken": self.several,
            "grey, written as three equal channels": self.grey,
            "with transparency, laid on white": self.transparent,
        }
        lines += [f"{count} {what}" for what, count in told.items() if count]
        angles = (f"{name} {mean:+.1f} ({std:.1f})" for name, (mean, std) in self.spread.items())
        lines.append(f"heads, mean and standard deviation in degrees: {', '.join(angles)}")
        fields = " ".join(f"--{name.replace('_', '-')} {value:g}" for name, value in self.scene.items())
        lines.append(f"estimated for `lineament train gmpi-folder`: {fields}")
        if self.left_out:
            shown = ", ".join(f"{count} {kind}" for kind, count in self.left_out.most_common())
            lines.append(f"left out {self.left_out.total()} ({shown}): {self.out / LEFT_OUT}")
        else:
            lines.append("nothing was left out")
        return "\n".join([*lines, f"to look at: {self.out / SHEET}"])


def prepare_posed(
    source: FaceSource,
    out: Path,
    cutting: PrepareOptions,
    posed: PosedOptions,
    overwrite: bool = False,
    workers: int = 1,
    progress: Progress = silent,
) -> PosedReport:
    """Cut out the largest face of each image of a source and find its camera; the rest is listed with why.

    Args:
        source: The photos.
        out: Folder to write; an interrupted run goes on in it, images that are gone are made again.
        cutting: Detector, smallest face, least score, and whether faces that are not upright are looked for.
        posed: Size of the images, and their cameras.
        overwrite: Start again.
        workers: Processes; the result does not depend on their number.
        progress: Shows progress.

    Raises:
        UsageError: On impossible options, or a model without landmarks.
        LineamentError: If the folder holds something else, or cannot be written.
        DataError: If no face could be used.
    """
    cutting.check()
    posed.check()
    names = [sample_id(source, index) for index in range(len(source))]
    if len(set(names)) < len(names):
        raise DataError(
            f"{source.name} names a photo twice, {Counter(names).most_common(1)[0][0]}: rename one."
        )
    digests = {name: sample_digest(source, index) for index, name in enumerate(names)}
    cutter = PosedCutter(source, cutting, posed)
    settings = _settings(source, cutting, posed, run_digest(cutter.open().run.folder))
    try:
        with claimed(out, settings, overwrite):
            known = read_journal(out)
            images = name_images(names, known)
            done = {
                name: row
                for name in names
                if (row := known.get(name)) and row["digest"] == digests[name] and is_whole(out, row)
            }
            for name, row in known.items():
                if name not in done:
                    remove(out, row)
            skipped, rows = len(done), dict(done)
            todo = [index for index, name in enumerate(names) if name not in done]
            chunks = [todo[start : start + CHUNK] for start in range(0, len(todo), CHUNK)]
            journal = Journal(out, done)
            try:
                with (
                    ordered_map(cutter, chunks, max(1, min(workers, len(chunks))), AGAIN) as results,
                    progress("finding faces and poses", len(names), "photos", skipped) as step,
                ):
                    for index, face in zip(todo, chain.from_iterable(results), strict=True):
                        name = names[index]
                        rows[name] = journal.add(name, digests[name], images[name], face)
                        step()
            finally:
                journal.close()
            return _finish(out, source.name, [rows[name] for name in names], posed, skipped)
    except OSError as error:
        raise LineamentError(
            f"cannot write the images in {out} ({error.strerror or error}): free some space or make it writable, then "
            f"{AGAIN}."
        ) from error


def _settings(source: FaceSource, cutting: PrepareOptions, posed: PosedOptions, model: str) -> dict[str, Any]:
    """All that decides images and rotations; the rest of the cameras may change from run to run."""
    sought = {name: getattr(cutting, name) for name in ("detector", "min_face", "min_score", "upright")}
    decided = {
        name: value
        for name, value in asdict(posed).items()
        if name in ("resolution", "mirrored", "max_head_error")
    }
    return {"layout": LAYOUT, "source": source.name, "landmark_model": model, **sought, **decided}


def _finish(
    out: Path, name: str, rows: Sequence[Mapping[str, Any]], posed: PosedOptions, skipped: int
) -> PosedReport:
    left_out = {row["photo"]: row["reason"] for row in rows if row["reason"]}
    write_left_out(out / LEFT_OUT, left_out)
    kept = [row for row in rows if not row["reason"]]
    counts = Counter(reason.partition(":")[0] for reason in left_out.values())
    if not kept:
        raise DataError(
            f"no face of {name} can be used: {len(rows)} photos were left out, see {out / LEFT_OUT}."
        )
    cameras = torch.eye(4, dtype=torch.float64).repeat(len(kept), 1, 1)
    cameras[:, :3, :3] = torch.tensor([row["rotation"] for row in kept], dtype=torch.float64).view(-1, 3, 3)
    # The crop has the middle of the face in its middle: there the camera looks.
    cameras[:, 2, 3] = posed.radius
    labels = eg3d_labels(cameras, centre_z=0.0, fov=math.radians(posed.fov_degrees))
    angles = pose_from_matrix(cameras[:, :3, :3]).rad2deg()
    _write_faces(out / FACES, kept, angles)
    if posed.coefficients:
        _write_all_coefficients(out / COEFFICIENTS, kept, cameras, posed)
    _draw(out, kept, angles)
    numbers: dict[str, list[float]] = {}
    for row, label, other in zip(kept, labels.tolist(), mirrored_eg3d_labels(labels).tolist(), strict=True):
        own = image_names(row["image"])
        numbers |= {own[0]: label, **({own[1]: other} if posed.mirrored else {})}
    write_dataset_json(out / DATASET_JSON, numbers)
    finished(out)
    stds = angles.std(0, correction=0)
    spread = {
        each: (float(mean), float(std))
        for each, mean, std in zip(("yaw", "pitch", "roll"), angles.mean(0), stds, strict=True)
    }
    return PosedReport(
        out,
        len(rows),
        skipped,
        len(kept),
        posed.mirrored,
        counts,
        sum(row["scale"] > 1 for row in kept),
        sum(row["grey"] for row in kept),
        sum(row["transparent"] for row in kept),
        sum(row["faces"] > 1 for row in kept),
        spread,
        estimate_scene(read_dataset_json(out / DATASET_JSON)),
    )


def _write_faces(path: Path, kept: Sequence[Mapping[str, Any]], angles: Tensor) -> None:
    """A row for each face, which is also a table of angles that `--pose` reads."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["name", "photo", "yaw", "pitch", "roll", "head_error", "scale"])
    for row, three in zip(kept, angles.tolist(), strict=True):
        told = [f"{angle:.4f}" for angle in three]
        writer.writerow(
            [
                guard(row["image"]),
                guard(row["photo"]),
                *told,
                f"{row['head_error']:.5f}",
                f"{row['scale']:.4f}",
            ]
        )
    write_text(path, text.getvalue())


def _write_all_coefficients(
    folder: Path, kept: Sequence[Mapping[str, Any]], cameras: Tensor, posed: PosedOptions
) -> None:
    side, flip = posed.resolution or 0, list(scheme("68").mirror)
    for row, camera in zip(kept, cameras, strict=True):
        points = torch.tensor(row["landmarks"], dtype=torch.float64).view(-1, 2)
        both = [(points, camera)]
        if posed.mirrored:
            across = torch.stack([side - 1 - points[flip, 0], points[flip, 1]], -1)
            both.append((across, mirrored(camera)))
        for name, (own, seen) in zip(image_names(row["image"]), both, strict=False):
            crop = named_crop("gmpi", landmarks=own, scheme="68", image_size=(side, side))
            write_coefficients(folder / f"{stem(name)}.mat", seen, crop.apply(own))


def _draw(out: Path, kept: Sequence[Mapping[str, Any]], angles: Tensor) -> None:
    """The sheet: faces from the least to the greatest yaw, each with its angles."""
    order = angles[:, 0].argsort()
    places = torch.linspace(0, len(kept) - 1, min(SHOWN, len(kept))).round().long()
    tiles = []
    for index in order[places].tolist():
        tile = contact_sheet([read_image(out / kept[index]["image"])], tile=TILE)
        image = to_pil(tile)
        draw = ImageDraw.Draw(image)
        yaw, pitch, roll = angles[index].tolist()
        for height, text in ((2, f"yaw {yaw:+.0f}"), (TILE - 13, f"pitch {pitch:+.0f} roll {roll:+.0f}")):
            draw.text((3, height), text, fill=(255, 255, 60), stroke_width=2, stroke_fill=(0, 0, 0))
        tiles.append(from_pil(image))
    write_sheet(contact_sheet(tiles, tile=TILE), out / SHEET, overwrite=True)

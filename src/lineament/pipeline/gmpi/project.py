"""Projects the face of a photo into a run of multiplane images, and writes what can then be seen of it."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lineament.data.images import read_image, write_image
from lineament.data.video import video_writer
from lineament.denormals import flush_denormals
from lineament.eight_bit import to_array
from lineament.errors import DataError, UsageError
from lineament.files import replacing
from lineament.geometry.multiplane import MultiplaneImage
from lineament.inference import Model, load
from lineament.methods.gmpi.figures import image_grid
from lineament.methods.gmpi.predictor import GMPIPredictor
from lineament.methods.gmpi.projection import Projection, ProjectSettings
from lineament.metrics.depth_map import depth_correlation_in
from lineament.metrics.reconstruction import psnr
from lineament.pipeline.gmpi.drawing import depth_image
from lineament.pipeline.gmpi.mesh import draw_mesh, write_mesh
from lineament.pipeline.gmpi.project_face import (
    PhotoFace,
    face_features,
    find_photo_face,
    paste,
    read_mean_pitch,
)
from lineament.pipeline.gmpi.source import done_before, write_facts
from lineament.pipeline.gmpi.video import STOP, TOGETHER, camera_path
from lineament.pipeline.predict.results import file_digest, first_difference, other_settings, run_digest
from lineament.progress import Progress, silent
from lineament.report.multiplane_files import write_npz
from lineament.report.multiplane_page import write_multiplane_page

OUTPUTS = ("video", "mesh", "page", "mpi")
# Steps after which the state of a projection is kept.
STEPS_BETWEEN_STATES = 100
NOTE = "Made by lineament gmpi project: a face drawn after a photo, not a photo."
_FRAMES, _RATE = 60, 20.0


@dataclass(frozen=True)
class ProjectRequest:
    """What to project.

    Attributes:
        photo: The photo.
        run: Run of multiplane images.
        settings: How.
        outputs: Of :data:`OUTPUTS`.
        landmarks: Landmark model, which also gives the features.
    """

    photo: Path
    run: Path
    settings: ProjectSettings
    outputs: tuple[str, ...] = ("video", "page", "mpi")
    landmarks: str = "face-68"


def project_photo(
    request: ProjectRequest, out: Path, *, overwrite: bool = False, progress: Progress = silent
) -> tuple[dict[str, Any], bool]:
    """Project a photo; an interrupted projection goes on where its state was kept.

    Args:
        request: What.
        out: Folder for the results, whose names begin as the photo's.
        overwrite: Begin again.
        progress: Shows how far it is.

    Returns:
        What ``NAME.project.json`` holds, and whether it was done before.

    Raises:
        UsageError: If the run draws no multiplane images, or results of other settings are there.
        DataError: If there is no face, or a file cannot be read or written.
    """
    request.settings.check()
    image = read_image(request.photo)
    model, landmarks = load(request.run), load(request.landmarks)
    predictor = model.predictor
    if not isinstance(predictor, GMPIPredictor):
        raise UsageError(
            f"{model.run.label} draws no multiplane images: give a run of `lineament train gmpi-folder`."
        )
    settings = {
        **vars(request.settings),
        "photo": file_digest(request.photo),
        "model": run_digest(model.run.folder),
        "landmarks": run_digest(landmarks.run.folder),
        "outputs": list(request.outputs),
    }
    stem = request.photo.stem
    facts_path, state = out / f"{stem}.project.json", out / f"{stem}.project-state.pt"
    if done_before(facts_path, settings, overwrite):
        return json.loads(facts_path.read_text(encoding="utf-8")), True
    face = find_photo_face(
        landmarks,
        image,
        str(request.photo),
        predictor.renderer.scene,
        read_mean_pitch(model, request.run),
        predictor.resolution,
    )
    features = face_features(landmarks) if request.settings.feature_weight > 0 else None
    projection = Projection(predictor, face.image, face.pitch_yaw, request.settings, features, face.inside)
    begun = projection.pitch_yaw.detach().clone()
    with flush_denormals():
        _run(projection, state, settings, overwrite, progress)
        facts, files = _write(projection, face, image, model, request, out, progress)
    before, after = (each.detach().rad2deg().tolist() for each in (begun, projection.pitch_yaw))
    facts = {
        "files": [file.name for file in files],
        **facts,
        "pose_before": {"yaw": round(before[1], 2), "pitch": round(before[0], 2)},
        "pose": {"yaw": round(after[1], 2), "pitch": round(after[0], 2)},
    }
    write_facts(facts_path, "gmpi project", settings, facts)
    state.unlink(missing_ok=True)
    return facts, False


def _run(
    projection: Projection, path: Path, settings: dict[str, Any], overwrite: bool, progress: Progress
) -> None:
    if path.exists() and not overwrite:
        _restore(projection, path, settings)

    def keep() -> None:
        with replacing(path) as temporary:
            torch.save({"settings": json.dumps(settings), **projection.state()}, temporary)

    with progress("projecting", projection.settings.ends[-1], "steps", projection.step) as advance:
        try:
            while not projection.done:
                projection.advance()
                advance()
                if projection.step % STEPS_BETWEEN_STATES == 0:
                    keep()
        except KeyboardInterrupt:
            keep()
            raise


def _restore(projection: Projection, path: Path, settings: dict[str, Any]) -> None:
    try:
        kept = torch.load(path, weights_only=True)
        why = first_difference(json.loads(kept["settings"]), settings)
        if not why:
            projection.restore(kept)
    # A damaged file raises almost anything out of the reader.
    except Exception as error:
        raise DataError(
            f"{path} cannot be read as the state of a projection ({error}): give --overwrite to begin again."
        ) from error
    if why:
        raise other_settings([(path, why)])


@torch.no_grad()
def _write(
    projection: Projection,
    face: PhotoFace,
    photo: Tensor,
    model: Model,
    request: ProjectRequest,
    out: Path,
    progress: Progress,
) -> tuple[dict[str, Any], list[Path]]:
    drawn = projection.result()
    made = drawn.multiplane(torch.zeros(drawn.latent_size))
    known: dict[str, object] = {"run": model.run.label, "photo": request.photo.name}
    image = MultiplaneImage(made.colour, made.background, made.alpha, made.planes, made.cameras, known)
    pitch, yaw = projection.pitch_yaw.detach()[:, None]
    seen = image.render(yaw, pitch, outside="clamp")
    error = ((seen.image[0] - face.image).square().mean(0) * face.inside) / face.inside.mean().clamp(min=1e-6)
    facts: dict[str, Any] = {
        "psnr": round(psnr(error), 2),
        "depth_r": round(depth_correlation_in(seen.depth[0], face.depth, face.depth > 0), 3),
    }
    name = str(out / request.photo.stem)
    row = torch.stack([face.image, seen.image[0], depth_image(image, seen.depth, "grey")[0]])
    files = [
        write_image(Path(f"{name}.projected.png"), image_grid(row, 3)),
        write_image(Path(f"{name}.pasted.png"), paste(photo, seen.image[0], face.crop)),
    ]
    if "mpi" in request.outputs:
        files.append(write_npz(Path(f"{name}.mpi.npz"), image))
    if "page" in request.outputs:
        files.append(write_multiplane_page(Path(f"{name}.html"), image, request.photo.name, NOTE))
    if "video" in request.outputs:
        files += _film(Path(name), image, progress)
    if "mesh" in request.outputs:
        mesh = draw_mesh(drawn, torch.zeros(drawn.latent_size), progress=progress)
        files += [write_mesh(Path(f"{name}.{kind}"), mesh) for kind in ("ply", "glb")]
    return facts, files


def _film(stem: Path, image: MultiplaneImage, progress: Progress) -> list[Path]:
    """A closed ellipse around the face, in colour and depth."""
    yaw, pitch = camera_path(image.cameras, "circle", _FRAMES)
    files = [stem.with_name(f"{stem.name}.{kind}.mp4") for kind in ("colour", "depth")]
    with ExitStack() as stack:
        writers = [
            stack.enter_context(video_writer(stack.enter_context(replacing(file)), _RATE, NOTE))
            for file in files
        ]
        advance = stack.enter_context(progress("video", _FRAMES, "frames"))
        for first in range(0, _FRAMES, TOGETHER):
            part = slice(first, first + TOGETHER)
            seen = image.render(yaw[part], pitch[part], stop=STOP)
            for write, frames in zip(
                writers, (seen.image, depth_image(image, seen.depth, "grey")), strict=True
            ):
                for frame in frames:
                    write(to_array(frame))
            for _ in range(len(yaw[part])):
                advance()
    return files

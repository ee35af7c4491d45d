"""Fits a multiplane image to a folder of views and scores it on those that were held back."""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lineament.data.images import write_image
from lineament.denormals import flush_denormals
from lineament.errors import DataError, UsageError
from lineament.files import replacing
from lineament.geometry.multiplane import MultiplaneImage
from lineament.methods.gmpi.figures import image_grid
from lineament.methods.gmpi.fitting import FitSettings, MultiplaneFit
from lineament.metrics.reconstruction import psnr
from lineament.pipeline.gmpi.fit_views import FolderOfViews, draw_views, folder_digest, read_views
from lineament.pipeline.gmpi.source import done_before, write_facts
from lineament.pipeline.predict.results import first_difference, other_settings
from lineament.progress import Progress, silent
from lineament.report.multiplane_files import write_atlas, write_npz
from lineament.report.multiplane_page import write_multiplane_page
from lineament.synthetic.head_scan import is_head_scan

JSON_NAME, STATE_NAME, FIGURE_NAME = "fit.json", "fit-state.pt", "held-back.png"
VIEWS_NAME = "views"
# Seconds after which the state of a fit is kept, so that an interrupted one goes on.
SECONDS_BETWEEN_STATES = 30.0
# Views in the figure, and how much its errors are enlarged.
_ROWS, _ENLARGED = 6, 4


@dataclass(frozen=True)
class FitRequest:
    """What to fit, and how.

    Attributes:
        source: Folder of images with poses, or with the scan of a head.
        pose: File or folder of the poses; those in ``source`` when None.
        settings: How.
        views: Of a scan: how many views are drawn.
        held_back: Views that are not fitted to; None: a third.
        resolution: Texels of a side; None: the side of the images, 256 of a scan.
        near: z of the first plane; None: as the angle of view tells.
        far: z of the last plane, likewise.
    """

    source: Path
    pose: Path | None = None
    settings: FitSettings = field(default_factory=FitSettings)
    views: int = 60
    held_back: int | None = None
    resolution: int | None = None
    near: float | None = None
    far: float | None = None


def fit_multiplane(
    request: FitRequest, out: Path, *, overwrite: bool = False, progress: Progress = silent
) -> tuple[dict[str, Any], bool]:
    """Fit a multiplane image to views; an interrupted fit goes on where its state was kept.

    Writes ``fitted.mpi.npz``, the folder ``fitted.mpi``, the page ``fitted.html``, ``held-back.png`` and, last,
    ``fit.json``; of a scan also a folder of the views.

    Args:
        request: What.
        out: Folder for the results.
        overwrite: Begin again.
        progress: Shows how far it is.

    Returns:
        What ``fit.json`` holds, and whether it was done before.

    Raises:
        UsageError: If results of other settings are there, or a number is impossible.
        DataError: If images or poses are missing or damaged, or a file cannot be written.
    """
    request.settings.check()
    folder, resolution = request.source, request.resolution
    if is_head_scan(folder):
        if not 3 <= request.views <= 10_000:
            raise UsageError(f"--views must lie between 3 and 10000, not {request.views}.")
        side = resolution or 256
        folder = out / f"{VIEWS_NAME}-{request.views}-{side}-{request.settings.seed}"
        draw_views(request.source, folder, request.views, side, request.settings.seed, progress)
    elif not folder.is_dir():
        raise DataError(f"{folder} is no folder: give images with dataset.json, or the scan of a head.")
    settings: dict[str, Any] = {
        **vars(request.settings),
        "views": folder_digest(folder),
        "pose": None if request.pose is None else str(request.pose),
        "held_back": request.held_back,
        "resolution": resolution,
        "near": request.near,
        "far": request.far,
    }
    if done_before(out / JSON_NAME, settings, overwrite):
        return json.loads((out / JSON_NAME).read_text(encoding="utf-8")), True
    given = read_views(
        folder,
        request.pose,
        resolution=resolution,
        held_back=request.held_back,
        near=request.near,
        far=request.far,
    )
    fit = MultiplaneFit(given.views.take(given.fitted), given.scene, request.settings)
    with flush_denormals():
        seconds, processor = _run(fit, out / STATE_NAME, settings, overwrite, progress)
        image = fit.image(source=request.source.name, views=len(given.fitted), steps=fit.step)
        scores = score(fit, given, out / FIGURE_NAME)
    files = [
        write_npz(out / "fitted.mpi.npz", image),
        write_atlas(out / "fitted.mpi", image),
        _page(out / "fitted.html", image, request.source.name, len(given.fitted)),
        *([out / FIGURE_NAME] if given.held_back else []),
    ]
    facts = {
        "files": [file.name for file in files],
        "scene": {name: getattr(given.scene, name) for name in ("near", "far", "fov_degrees", "radius")},
        "fitted": len(given.fitted),
        "held_back": [given.views.names[index] for index in given.held_back],
        "seconds": round(seconds, 1),
        "processor_seconds": round(processor, 1),
        **scores,
    }
    write_facts(out / JSON_NAME, "gmpi fit", settings, facts)
    (out / STATE_NAME).unlink(missing_ok=True)
    return facts, False


def _page(path: Path, image: MultiplaneImage, name: str, views: int) -> Path:
    return write_multiplane_page(path, image, name, f"A multiplane image fitted to {views} views.")


def _run(
    fit: MultiplaneFit, state: Path, settings: dict[str, Any], overwrite: bool, progress: Progress
) -> tuple[float, float]:
    """Do the steps that are left; returns the time of all, wall and processor, in seconds."""
    before = (0.0, 0.0)
    if state.exists() and not overwrite:
        before = _restore(fit, state, settings)
    start, used = time.monotonic(), time.process_time()

    def spent() -> tuple[float, float]:
        return before[0] + time.monotonic() - start, before[1] + time.process_time() - used

    def keep() -> None:
        with replacing(state) as temporary:
            torch.save({"settings": json.dumps(settings), "spent": spent(), **fit.state()}, temporary)

    kept = time.monotonic()
    with progress("fitting", fit.settings.steps, "steps", fit.step) as advance:
        try:
            while not fit.done:
                fit.advance()
                advance()
                if time.monotonic() - kept > SECONDS_BETWEEN_STATES:
                    keep()
                    kept = time.monotonic()
        except KeyboardInterrupt:
            keep()
            raise
    if not math.isfinite(fit.error):
        raise DataError("the fit broke down: its error is no number; check the images and their poses.")
    return spent()


def _restore(fit: MultiplaneFit, path: Path, settings: dict[str, Any]) -> tuple[float, float]:
    try:
        kept = torch.load(path, weights_only=True)
        why = first_difference(json.loads(kept["settings"]), settings)
        if not why:
            fit.restore(kept)
        wall, processor = map(float, kept["spent"])
    # A damaged file raises almost anything out of the reader.
    except Exception as error:
        raise DataError(
            f"{path} cannot be read as the state of a fit ({error}): give --overwrite to begin again."
        ) from error
    if why:
        raise other_settings([(path, why)])
    return wall, processor


@torch.no_grad()
def score(fit: MultiplaneFit, given: FolderOfViews, figure: Path) -> dict[str, Any]:
    """Compare the views that were held back with what the multiplane image shows from their cameras.

    Args:
        fit: Done.
        given: The views.
        figure: PNG to write: the view, what is shown, their difference (times 4), and the depth.

    Returns:
        ``psnr`` in dB, mean over the views, and ``psnr_least``; where the truth is known also ``psnr_mask`` and
        ``psnr_mask_least`` inside the head, ``depth_error`` (median) and ``depth_error_mean`` in units of the radius,
        and the median as ``depth_error_share`` of the way from the first plane to the last.
    """
    if not given.held_back:
        return {}
    image = fit.image()
    values: dict[str, list[float]] = {"psnr": [], "psnr_mask": []}
    depths, rows = [], []
    drawn = {given.held_back[k * len(given.held_back) // _ROWS] for k in range(_ROWS)}
    for index in given.held_back:
        true = given.views.images[index].float() / 255
        seen = fit.see(given.views.cameras[index][None])
        shown, depth = seen.image[0], seen.depth[0]
        error = (shown - true).square().mean(0)
        values["psnr"].append(psnr(error))
        if given.truth is not None:
            mask = given.truth.mask[index]
            if bool(mask.any()):
                values["psnr_mask"].append(psnr(error[mask]))
                depths.append((depth - given.truth.depth[index])[mask].abs())
        if index in drawn:
            grey = image.depth_share(depth).expand(3, -1, -1)
            rows += [true, shown, ((shown - true).abs() * _ENLARGED).clamp(0, 1), grey]
    write_image(figure, image_grid(torch.stack(rows), 4))
    found: dict[str, float] = {}
    for name, each in values.items():
        if each:
            found |= {name: round(sum(each) / len(each), 2), f"{name}_least": round(min(each), 2)}
    return found | _depth_scores(depths, image)


def _depth_scores(errors: list[Tensor], image: MultiplaneImage) -> dict[str, float]:
    if not errors:
        return {}
    error = torch.cat(errors).double() / image.cameras.radius
    middle = float(error.median())
    return {
        "depth_error": round(middle, 6),
        "depth_error_mean": round(float(error.mean()), 6),
        "depth_error_share": round(middle * image.cameras.radius / (image.far - image.near), 5),
    }

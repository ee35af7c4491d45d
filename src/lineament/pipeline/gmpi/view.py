"""Pages on which multiplane images are turned by hand, of a run's seeds or of a file."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lineament.geometry.multiplane import MultiplaneImage
from lineament.pipeline.gmpi.source import MultiplaneSource, done_before, seed_name, write_facts
from lineament.pipeline.predict.results import file_digest
from lineament.progress import Progress, silent
from lineament.report.multiplane_files import JSON_NAME, read_multiplane
from lineament.report.multiplane_page import write_multiplane_page

# What the JSON file beside a page is called.
ENDING = ".view.json"


def is_multiplane_file(path: Path) -> bool:
    """Whether a path names a multiplane image rather than a run: an npz, a folder with mpi.json, or that file."""
    return path.suffix.lower() == ".npz" or path.name == JSON_NAME or (path / JSON_NAME).is_file()


def draw_pages(
    source: MultiplaneSource,
    seeds: list[int],
    folder: Path,
    *,
    overwrite: bool = False,
    progress: Progress = silent,
) -> Iterator[tuple[Path, bool]]:
    """Write a page for each seed of a run: ``seed0007.html``.

    Files are complete or absent; those that are done are left.

    Args:
        source: Draws.
        seeds: Faces.
        folder: Where; made if it is missing.
        overwrite: Replace pages that are there.
        progress: Shows how far it is.

    Yields:
        Each page, and whether it was done before.

    Raises:
        UsageError: If a page of other settings is there.
        DataError: If textures are too large for browsers, or a file cannot be written.
    """
    plans = []
    for seed in seeds:
        path = folder / f"{seed_name(seed)}.html"
        settings = source.settings(seed=seed)
        plans.append((seed, path, settings, done_before(_facts_path(path), settings, overwrite)))
    label, psi = source.model.run.label, source.options.truncation
    made = f"Drawn by {label} at step {source.model.step}, truncation {psi:g}: a generated face, not a photo."
    with progress("drawing", len(seeds), "faces") as advance:
        for seed, path, settings, done in plans:
            if not done:
                image = source.draw(source.latent(seed), seed=seed)
                _write(path, image, f"Seed {seed} of {label}", made, settings)
            advance()
            yield path, done


def page_of_file(path: Path, folder: Path | None, *, overwrite: bool = False) -> tuple[Path, bool]:
    """Write the page of a multiplane image that is a file: ``NAME.html``.

    Args:
        path: The npz, the folder, or its mpi.json.
        folder: Where the page goes; beside the file when None.
        overwrite: Replace a page that is there.

    Returns:
        The page, and whether it was done before.

    Raises:
        UsageError: If the page of another multiplane image is there.
        DataError: If it cannot be read, is too large for browsers, or the page cannot be written.
    """
    kept = (path.parent if path.name == JSON_NAME else path).resolve()
    image = read_multiplane(kept)
    name = (kept.stem if kept.is_file() else kept.name).removesuffix(".mpi")
    page = (folder or kept.parent) / f"{name}.html"
    parts = [kept] if kept.is_file() else [kept / JSON_NAME, *sorted(kept.glob("*.png"))]
    settings = {"multiplane": "-".join(str(file_digest(part)) for part in parts)}
    if done_before(_facts_path(page), settings, overwrite):
        return page, True
    _write(page, image, name, "", settings)
    return page, False


def _facts_path(page: Path) -> Path:
    return page.with_name(page.stem + ENDING)


def _write(page: Path, image: MultiplaneImage, title: str, caption: str, settings: Mapping[str, Any]) -> None:
    write_multiplane_page(page, image, title, caption)
    limits = {
        name: [math.degrees(angle) for angle in getattr(image.cameras, name)]
        for name in ("yaw_limits", "pitch_limits")
    }
    facts = {"files": [page.name], "planes": len(image.planes), "limits": limits}
    write_facts(_facts_path(page), "gmpi view", settings, facts)

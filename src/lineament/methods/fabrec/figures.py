"""Images of what the autoencoder and the landmark head have learnt, each with its numbers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from PIL import ImageDraw, ImageFont
from torch import Tensor, nn

from lineament.data.face_box import sample_box
from lineament.data.images import write_image
from lineament.data.sample import FaceSource
from lineament.eight_bit import from_pil, to_pil
from lineament.files import write_text
from lineament.methods.fabrec.crop import View
from lineament.methods.fabrec.evaluate import prepare_images, reconstruct_images
from lineament.methods.fabrec.loss import WINDOW, contrast_structure
from lineament.methods.fabrec.model import interpolate_codes, normalise_images, to_images
from lineament.methods.fabrec.predictor import LandmarkPredictor
from lineament.methods.fabrec.tiles import coloured, enlarged, five_tiles, tile_images
from lineament.metrics.reconstruction import pixel_error, similarity

# Faces in a figure, steps of an interpolation.
FACES, STEPS = 8, 8
# Window of structural errors of images less than four published windows wide: all but 2e-4 of the weight.
SMALL_WINDOW = 11
# Height of a line of text below a tile.
LINE = 13


def with_text(image: Tensor, lines: Sequence[str]) -> Tensor:
    """An image ``[3, h, w]`` above a dark strip with lines of text: nothing of the image is covered."""
    strip = LINE * len(lines) + 4
    canvas = to_pil(F.pad(image, (0, 0, 0, strip)))
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(LINE - 1)
    for number, line in enumerate(lines):
        place = (4, canvas.height - strip + 1 + LINE * number)
        pen.text(place, line, fill=(255, 255, 0), font=font)
    return from_pil(canvas)


def reconstruction_sheet(images: Tensor, made: Tensor) -> tuple[Tensor, list[dict[str, float]]]:
    """Inputs over reconstructions with 1 - SSIM above the pixel error, and these numbers."""
    numbers = [
        {"ssim_error": 1 - similarity(a, b), "pixel_error": pixel_error(a, b)}
        for a, b in zip(images, made, strict=True)
    ]
    labelled = [
        with_text(enlarged(tile), [f"1 - SSIM {each['ssim_error']:.2f}", f"pixels {each['pixel_error']:.1f}"])
        for tile, each in zip(made, numbers, strict=True)
    ]
    return tile_images([[enlarged(tile) for tile in images], labelled]), numbers


def error_sheet(images: Tensor, made: Tensor) -> tuple[Tensor, list[dict[str, float]]]:
    """Inputs, reconstructions, and the structural error at every pixel (0 to 2 in viridis; black border unknown).

    The window of the published size would leave half of a small image unjudged: those get one of a third.
    """
    window = WINDOW if images.shape[-1] >= 4 * WINDOW else SMALL_WINDOW
    shown_and_made = normalise_images(images), normalise_images(made)
    maps = 1 - contrast_structure(*shown_and_made, window=window).mean(1)
    border = window // 2
    shown, numbers = [], []
    for a, b, error in zip(images, made, maps, strict=True):
        tile = F.pad(coloured(error, "viridis", 0.0, 2.0), [border] * 4)
        numbers.append({"structural_error": float(error.mean()), "pixel_error": pixel_error(a, b)})
        texts = [
            f"structure {numbers[-1]['structural_error']:.2f}",
            f"pixels {numbers[-1]['pixel_error']:.1f}",
        ]
        shown.append(with_text(enlarged(tile), texts))
    rows = [[enlarged(t) for t in images], [enlarged(t) for t in made], shown]
    return tile_images(rows), numbers


@torch.no_grad()
def autoencoder_figures(
    networks: dict[str, nn.Module], source: FaceSource, view: View, code: int, folder: Path
) -> list[Path]:
    """Reconstructions, structural errors, random samples, interpolations; each a PNG with its numbers as JSON.

    Tiles of the first two carry their structural and their pixel error, tiles of the others the scores of both
    discriminators.
    """
    images, names = prepare_images(source, view, range(min(FACES, len(source))))
    made = reconstruct_images(networks, images)
    device = next(networks["decoder"].buffers()).device
    codes = networks["encoder"](normalise_images(images.to(device)))
    # Drawn on the CPU, so that every figure of a run shows the same codes on any device.
    drawn = torch.randn(2 * FACES, code, generator=torch.Generator().manual_seed(0)).to(device)
    halfway = 0.5 * (codes + drawn[: len(codes)])
    samples, sample_scores = _judged(networks, torch.cat([drawn[:FACES], halfway]))
    lines = [interpolate_codes(codes[k], codes[-1], STEPS) for k in range(min(2, len(codes)))]
    between, between_scores = _judged(networks, torch.cat(lines))
    sheets: dict[str, tuple[Tensor, Any]] = {}
    sheet, numbers = reconstruction_sheet(images, made)
    sheets["reconstructions"] = sheet, {"names": names, "tiles": numbers}
    sheet, numbers = error_sheet(images, made)
    sheets["structural-errors"] = sheet, {"names": names, "tiles": numbers, "colours": "0 to 2"}
    blank = torch.ones_like(samples[0])
    rows = [samples[:FACES], samples[FACES:] + [blank] * (FACES - len(halfway))]
    facts = {"rows": ["normal codes", "half way to normal codes"], "of": names, "tiles": sample_scores}
    sheets["samples"] = tile_images(rows), facts
    rows = [between[start : start + STEPS] for start in range(0, len(between), STEPS)]
    facts = {"from": names[: len(rows)], "to": names[-1], "tiles": between_scores}
    sheets["interpolations"] = tile_images(rows), facts
    return [_write(folder / f"{name}.png", *content) for name, content in sheets.items()]


def landmark_figures(predictor: LandmarkPredictor, source: FaceSource, folder: Path) -> list[Path]:
    """Five tiles for each of a few faces."""
    samples = [source[index] for index in range(min(6, len(source)))]
    looks = [predictor.look(sample.image, sample_box(sample)) for sample in samples]
    rows = [five_tiles(look, predictor.scheme) for look in looks]
    columns = ["input", "reconstruction", "heatmaps", "landmarks in reconstruction", "landmarks in input"]
    found = [predictor.landmarks(sample.image, sample_box(sample)[None]) for sample in samples]
    numbers = {
        "columns": columns,
        "faces": [sample.id for sample in samples],
        "landmarks": [each.points[0].tolist() for each in found],
        "confidence": [each.confidence[0].tolist() for each in found],
    }
    return [_write(folder / "five-tiles.png", tile_images(rows), numbers)]


def _judged(networks: dict[str, nn.Module], codes: Tensor) -> tuple[list[Tensor], list[dict[str, float]]]:
    """Decode codes ``[N, code]``: tiles with what both discriminators make of them (1 real, 0 not), and the numbers."""
    images = networks["decoder"](codes).image
    scores = [networks["image_discriminator"](images), networks["code_discriminator"](codes).flatten()]
    numbers = [
        {"picture": image, "code": code}
        for image, code in zip(*(each.tolist() for each in scores), strict=True)
    ]
    tiles = [
        with_text(enlarged(tile), [f"{name} {value:.2f}" for name, value in each.items()])
        for tile, each in zip(to_images(images).cpu(), numbers, strict=True)
    ]
    return tiles, numbers


def _write(path: Path, sheet: Tensor, numbers: Any) -> Path:
    write_image(path, sheet)
    write_text(path.with_suffix(".json"), json.dumps(numbers, indent=1) + "\n")
    return path

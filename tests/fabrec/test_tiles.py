"""The five tiles of a face: each shows what its place says, all in the same pixels."""

from __future__ import annotations

import pytest
import torch

from lineament.faces.schemes import scheme
from lineament.methods.fabrec.heatmaps import draw_heatmaps
from lineament.methods.fabrec.tiles import Look, five_tiles, tile_images

POINTS = torch.tensor([[12.0, 20.0], [50.0, 18.0], [31.0, 35.0], [18.0, 50.0], [45.0, 52.0]])


def prepared(size: int) -> Look:
    points = (POINTS + 0.5) * (size / 64) - 0.5
    image = torch.full((3, size, size), 0.2)
    image[0, : size // 2] = 0.5
    return Look(image, torch.full((3, size, size), 0.3), draw_heatmaps(points, size, 64, 2.0), points)


@pytest.mark.parametrize("size", [64, 128])
def test_every_tile_shows_its_thing_in_the_same_pixels(size: int):
    look = prepared(size)
    tiles = five_tiles(look, scheme("5"))
    assert [tuple(tile.shape) for tile in tiles] == [(3, 128, 128)] * 5
    shown, made, heat, on_made, on_shown = tiles
    assert torch.equal(shown[:, ::2, ::2], look.image[:, :: size // 64, :: size // 64])
    assert float((made - 0.3).abs().max()) < 1e-6
    places = ((POINTS + 0.5) * 2 - 0.5).round().long()
    glow = (heat - shown).sum(0)
    for x, y in places.tolist():
        # Brightest within two pixels of the landmark, dark away from all of them.
        around = glow[y - 12 : y + 13, x - 12 : x + 13]
        row, column = divmod(int(around.argmax()), 25)
        assert abs(row - 12) <= 2 and abs(column - 12) <= 2
        for tile in (on_made, on_shown):
            red, green, blue = tile[:, y, x].tolist()
            assert green > 0.9 > red and blue < 0.5, "a green dot lies on the landmark"
    assert float(glow[:8, :8].abs().max()) < 0.02
    assert torch.equal(on_shown[:, :8, :8], torch.round(shown[:, :8, :8] * 255) / 255)
    assert tile_images([tiles]).shape == (3, 130, 650)

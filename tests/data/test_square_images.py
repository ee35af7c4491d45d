"""Images of one size: what is counted, what is refused, how they are cut."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import trees
from PIL import Image

from lineament.data.images import image_kind, read_image
from lineament.data.records import Record, RecordSource
from lineament.data.registry import open_data
from lineament.data.square_images import Mirrored, count_images, square_image
from lineament.data.subset import Concat, Subset
from lineament.errors import DataError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two colour images of 16 px, one of 20x12, a small one, two grey ones, two with transparency."""
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 4), dtype=np.uint8)
    trees.save_picture(tmp_path / "a.png", 16, 16, 0)
    trees.save_picture(tmp_path / "b.jpg", 16, 16, 1)
    trees.save_picture(tmp_path / "c.png", 20, 12, 2)
    trees.save_picture(tmp_path / "d.png", 18, 40, 3)
    Image.fromarray(pixels[..., 0]).save(tmp_path / "e.png")
    Image.fromarray(pixels[..., 0].astype(np.uint16) * 200).save(tmp_path / "f.png")
    Image.fromarray(pixels).save(tmp_path / "g.png")
    Image.fromarray(pixels[..., :2], "LA").save(tmp_path / "h.png")
    return tmp_path


def test_grey_transparent_and_other_sizes_are_counted(folder: Path):
    counts = count_images(open_data(folder), 16, resize=True)
    assert vars(counts) == {"total": 8, "resized": 2, "enlarged": 1, "grey": 3, "transparent": 2}
    assert counts.summary() == (
        "8 images; 2 cut to their middle square and scaled, 1 of them enlarged; 3 grey, taken as three equal channels; "
        "2 with transparency, laid on white"
    )


def test_other_sizes_are_refused_without_resize(folder: Path):
    with pytest.raises(
        DataError, match=r"2 of 8 images of .* are not 16x16 \(c.png is 20x12\): give --resize"
    ):
        count_images(open_data(folder), 16, resize=False)
    with pytest.raises(DataError, match=r"c\.png is 20x12, not 16x16: give --resize"):
        square_image(torch.zeros(3, 12, 20), 16, False, "c.png")


def test_an_unreadable_file_is_left_to_the_reader(folder: Path):
    (folder / "a.png").write_bytes(b"no image")
    assert count_images(open_data(folder), 16, resize=True).total == 8


def test_parts_and_joined_sources_know_the_kinds_of_their_images(folder: Path):
    source = open_data(folder)
    part = Subset(source, [4, 6])
    joined = Concat([part, source])
    assert count_images(part, 16, False).grey == 1
    assert count_images(joined, 16, True).grey == 4
    assert joined.id_of(1) == "g.png"


def test_images_in_an_archive_are_counted_too(folder: Path, tmp_path: Path):
    archive = tmp_path / "images.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as made:
        for name in ("a.png", "e.png"):
            made.write(folder / name, name)
    source = RecordSource("zip", [Record(name, archive, name) for name in ("a.png", "e.png")])
    assert vars(count_images(source, 16, False)) == {
        "total": 2, "resized": 0, "enlarged": 0, "grey": 1, "transparent": 0,
    }  # fmt: skip


def test_orientation_counts(tmp_path: Path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (10, 6)).save(tmp_path / "a.jpg", exif=exif)
    kind = image_kind(tmp_path / "a.jpg")
    assert (kind.width, kind.height) == (6, 10) == tuple(read_image(tmp_path / "a.jpg").shape[:0:-1])


def test_an_image_of_the_right_size_stays_as_it_is(folder: Path):
    image = read_image(folder / "a.png")
    assert torch.equal(square_image(image, 16, False, "a"), image)


def test_the_middle_square_is_cut_and_scaled():
    """A picture whose outer parts are black and whose middle square is a slope keeps the slope alone."""
    slope = torch.linspace(0, 1, 32).expand(3, 32, 32)
    wide = torch.cat([torch.zeros(3, 32, 10), slope, torch.zeros(3, 32, 10)], 2)
    found = square_image(wide, 8, True, "wide")
    assert found.shape == (3, 8, 8)
    assert torch.allclose(found[:, 4, 1:-1], (torch.arange(1, 7) * 4 + 1.5).expand(3, 6) / 31, atol=0.01)


def test_mirrored_copies_follow_the_images(folder: Path):
    source = open_data(folder)
    both = Mirrored(source)
    assert len(both) == 16
    assert torch.equal(both[2].image, source[2].image)
    assert torch.equal(both[10].image, source[2].image.flip(2))
    assert (both[2].id, both[10].id) == ("c.png", "c.png#mirrored")
    assert both.fingerprint != source.fingerprint

"""Pictures of every kind and every kind of damage."""

from __future__ import annotations

import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lineament.data.images import (
    decode_image,
    image_size,
    is_animation,
    list_images,
    read_image,
    read_image_uint8,
    write_image,
)
from lineament.errors import DataError


def picture(width: int = 12, height: int = 8) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture
def png(tmp_path: Path) -> Path:
    path = tmp_path / "a.png"
    Image.fromarray(picture()).save(path)
    return path


def test_rgb_values_shape_and_type(png: Path) -> None:
    image = read_image(png)
    assert image.dtype == torch.float32 and image.shape == (3, 8, 12)
    assert torch.equal(image, torch.from_numpy(picture()).permute(2, 0, 1).float() / 255)
    assert torch.equal(read_image_uint8(png), torch.from_numpy(picture()).permute(2, 0, 1))
    assert torch.equal(decode_image(png.read_bytes(), "in.zip/a.png"), image)


# One column list per orientation: where the corner pixels (top left, top right, bottom left) of the file end up.
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
def test_exif_orientations(tmp_path: Path, orientation: int, suffix: str) -> None:
    upright = np.zeros((16, 24, 3), np.uint8)
    upright[:8, :8] = (255, 0, 0)
    upright[:8, 16:] = (0, 255, 0)
    upright[8:, :8] = (0, 0, 255)
    # How a camera would have stored the upright picture under each orientation (EXIF 2.3, tag 0x0112).
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: np.rot90(upright, 2).transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    path = tmp_path / f"turned{suffix}"
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 100, "subsampling": 0} if suffix == ".jpg" else {}
    Image.fromarray(np.ascontiguousarray(stored)).save(path, exif=exif, **options)
    expected = torch.from_numpy(upright).permute(2, 0, 1).float() / 255
    assert (read_image(path) - expected).abs().max() < 0.02
    assert image_size(path) == (24, 16)


def test_grey_is_repeated(tmp_path: Path) -> None:
    Image.fromarray(picture()[..., 0]).save(tmp_path / "g.png")
    image = read_image(tmp_path / "g.png")
    assert torch.equal(image[0], image[2]) and torch.equal(
        image[1], torch.from_numpy(picture()[..., 0]).float() / 255
    )


def test_sixteen_bit_grey_keeps_its_precision(tmp_path: Path) -> None:
    values = np.array([[0, 1, 257, 65535]], np.uint16)
    for name in ("a.png", "a.tif"):
        Image.fromarray(values).save(tmp_path / name)
        assert torch.allclose(
            read_image(tmp_path / name)[1], torch.tensor([[0, 1, 257, 65535]]) / 65535, atol=1e-7
        )
        assert read_image_uint8(tmp_path / name)[0].tolist() == [[0, 0, 1, 255]]


def test_sixteen_bit_colour(tmp_path: Path) -> None:
    # Pillow writes no 48-bit PNG, so one is put together by hand.
    values = np.array([[[0, 32896, 65535]], [[257, 514, 65278]]], ">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in values)

    header = struct.pack(">IIBBBBB", 1, 2, 16, 2, 0, 0, 0)
    path = tmp_path / "deep.png"
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )
    assert (read_image(path)[:, 0, 0] - torch.tensor([0, 128 / 255, 1])).abs().max() < 1 / 255


def test_cmyk_jpeg(tmp_path: Path) -> None:
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "c.jpg", quality=100)
    red = read_image(tmp_path / "c.jpg")[:, 4, 4]
    assert red[0] > 0.95 and red[1:].max() < 0.05


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_is_laid_over_white(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "t.png"
    if mode == "P":
        image = Image.new("P", (2, 1))
        image.putpalette([10, 20, 30, 40, 50, 60])
        image.putpixel((1, 0), 1)
        image.save(path, transparency=0)
        expected = torch.tensor([[1.0, 1, 1], [40 / 255, 50 / 255, 60 / 255]])
    elif mode == "RGBA":
        Image.fromarray(np.array([[[200, 0, 0, 0], [200, 0, 0, 255]]], np.uint8)).save(path)
        expected = torch.tensor([[1.0, 1, 1], [200 / 255, 0, 0]])
    else:
        Image.fromarray(np.array([[[0, 0], [0, 128]]], np.uint8), "LA").save(path)
        expected = torch.tensor([[1.0, 1, 1], [127 / 255] * 3])
    assert (read_image(path)[:, 0].T - expected).abs().max() < 1.5 / 255


def test_palette_and_animated_gif_give_the_first_frame(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (6, 4), colour) for colour in ((255, 0, 0), (0, 255, 0), (0, 0, 255))]
    path = tmp_path / "a.gif"
    frames[0].save(path, save_all=True, append_images=frames[1:])
    image = read_image(path)
    assert image.shape == (3, 4, 6) and torch.equal(image[:, 0, 0], torch.tensor([1.0, 0, 0]))
    Image.fromarray(picture()).quantize(16).save(tmp_path / "p.png")
    assert read_image(tmp_path / "p.png").shape == (3, 8, 12)


@pytest.mark.parametrize(("width", "height"), [(1, 1), (30000, 1), (1, 30000)])
def test_odd_sizes(tmp_path: Path, width: int, height: int) -> None:
    Image.new("RGB", (width, height), (7, 8, 9)).save(tmp_path / "o.png")
    assert read_image(tmp_path / "o.png").shape == (3, height, width)


def test_names_outside_ascii(tmp_path: Path) -> None:
    for name in ("фото ü 顔 🙂.png", "a b'\"#%.png", "line\nbreak.png"):
        Image.fromarray(picture()).save(tmp_path / name)
        assert read_image(tmp_path / name).shape == (3, 8, 12)
    assert len(list_images(tmp_path)) == 3


def broken_files(folder: Path) -> dict[str, Path]:
    """Write one file of each kind of damage."""
    buffers = {"cut.jpg": "JPEG", "cut.png": "PNG", "cut.gif": "GIF", "cut.webp": "WEBP"}
    for name, kind in buffers.items():
        whole = folder / f"whole-{name}"
        Image.fromarray(picture(64, 64)).save(whole, kind)
        (folder / name).write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
        whole.unlink()
    (folder / "empty.png").write_bytes(b"")
    (folder / "text.jpg").write_text("this is not an image")
    (folder / "html.png").write_text("<html><body>404 Not Found</body></html>")
    (folder / "zeros.png").write_bytes(b"\0" * 1000)
    return {path.name: path for path in sorted(folder.iterdir())}


@pytest.mark.parametrize(
    "name", ["cut.jpg", "cut.png", "cut.gif", "cut.webp", "empty.png", "text.jpg", "html.png", "zeros.png"]
)
def test_damaged_files_are_named(tmp_path: Path, name: str) -> None:
    path = broken_files(tmp_path)[name]
    with pytest.raises(DataError) as caught:
        read_image(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no image .*gone\.png"):
        read_image(tmp_path / "gone.png")
    with pytest.raises(DataError, match="is a folder"):
        read_image(tmp_path)


def chunk(kind: bytes, data: bytes) -> bytes:
    """Build one chunk of a PNG file."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def bomb(path: Path, side: int) -> None:
    """Write a PNG of a few bytes whose header promises ``side`` x ``side`` pixels."""
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 99))
    )


@pytest.mark.parametrize("side", [11_000, 50_000])
def test_decompression_bombs_are_refused_before_decoding(tmp_path: Path, side: int) -> None:
    bomb(tmp_path / "bomb.png", side)
    with pytest.raises(DataError, match=r"bomb\.png.*(limit|large)"):
        read_image(tmp_path / "bomb.png")


def test_the_limit_can_be_chosen(png: Path) -> None:
    with pytest.raises(DataError, match="12x8, more than the limit"):
        read_image(png, max_pixels=95)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_flipped_bytes_never_raise_anything_else(data: st.DataObject) -> None:
    import io

    kind = data.draw(st.sampled_from(["PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP", "PPM"]))
    buffer = io.BytesIO()
    Image.fromarray(picture()).save(buffer, kind)
    content = bytearray(buffer.getvalue())
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        image = decode_image(bytes(content), "fuzzed", max_pixels=1_000_000)
    except DataError as error:
        assert "fuzzed" in str(error)
    else:
        assert image.shape[0] == 3 and image.min() >= 0 and image.max() <= 1


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_written_pictures_come_back(tmp_path: Path, suffix: str) -> None:
    ramp = torch.linspace(0, 1, 24).expand(3, 16, 24)
    path = write_image(tmp_path / "new" / f"x{suffix}", ramp)
    assert (read_image(path) - ramp).abs().max() < (0.5 / 255 + 1e-6 if suffix == ".png" else 0.03)
    assert [item.name for item in path.parent.iterdir()] == [path.name]


def test_refused_pictures_leave_nothing_behind(tmp_path: Path) -> None:
    for image, name in (
        (torch.full((3, 4, 4), float("nan")), "a.png"),
        (torch.zeros(4, 4), "a.png"),
        (torch.zeros(3, 4, 4), "a.xyz"),
    ):
        with pytest.raises(DataError, match=r"a\.(png|xyz)"):
            write_image(tmp_path / name, image)
    assert not list(tmp_path.iterdir())


def test_an_interrupted_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_image(tmp_path / "a.png", torch.zeros(3, 4, 4))

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(OSError, match="No space"):
        write_image(path, torch.ones(3, 4, 4))
    assert read_image(path).max() == 0 and len(list(tmp_path.iterdir())) == 1


def test_listing_order_and_what_is_left_out(tmp_path: Path) -> None:
    for name in (
        "b.png",
        "B.PNG",
        "a/z.jpg",
        "img10.png",
        "img2.png",
        ".hidden.png",
        "__MACOSX/x.png",
        "notes.txt",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    names = [path.relative_to(tmp_path).as_posix() for path in list_images(tmp_path)]
    assert names == ["B.PNG", "a/z.jpg", "b.png", "img10.png", "img2.png"]
    assert [path.name for path in list_images(tmp_path, recursive=False)] == [
        "B.PNG",
        "b.png",
        "img10.png",
        "img2.png",
    ]
    with pytest.raises(DataError, match="no image in"):
        (tmp_path / "void").mkdir()
        list_images(tmp_path / "void")
    with pytest.raises(DataError, match="there is no folder"):
        list_images(tmp_path / "none")


def test_heic_photographs_need_their_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heif = pytest.importorskip("pillow_heif")
    heif.register_heif_opener()
    path = tmp_path / "IMG_0001.HEIC"
    smooth = np.zeros((48, 64, 3), np.uint8)
    smooth[:, 32:] = (250, 40, 10)
    Image.fromarray(smooth).save(path, "HEIF", quality=95)
    heif_copy = tmp_path / "renamed.jpg"
    heif_copy.write_bytes(path.read_bytes())
    for name in (path, heif_copy):
        image = read_image(name)
        assert image.shape == (3, 48, 64) and image_size(name) == (64, 48)
        assert (image[:, 20, 50] - torch.tensor([250, 40, 10]) / 255).abs().max() < 0.03
        assert image[:, 20, 10].max() < 0.03
    assert list_images(tmp_path) == [path, heif_copy]
    # Without the library, the sentence says what to install.
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(DataError, match=r"IMG_0001\.HEIC is a HEIC photo: .*lineament\[heic\]"):
        read_image(path)
    with pytest.raises(DataError, match=r"lineament\[heic\]"):
        image_size(path)
    (tmp_path / "short.heic").write_bytes(path.read_bytes()[:16])
    monkeypatch.undo()
    with pytest.raises(DataError, match=r"short\.heic"):
        read_image(tmp_path / "short.heic")


@pytest.mark.parametrize("ending", ["gif", "png", "webp"])
def test_of_an_animation_the_first_frame_is_taken_and_that_is_said_once(
    tmp_path: Path, ending: str, caplog: pytest.LogCaptureFixture
) -> None:
    frames = [Image.new("RGB", (16, 12), colour) for colour in ((255, 0, 0), (0, 0, 255), (0, 255, 0))]
    path = tmp_path / f"moving.{ending}"
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=100)
    for _ in range(3):
        assert (read_image(path)[:, 5, 5] - torch.tensor([1.0, 0.0, 0.0])).abs().max() < 0.02
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 1 and str(path) in said[0] and "first frame" in said[0]
    assert "--video" in said[0] and is_animation(path)
    still = tmp_path / f"still.{ending}"
    frames[0].save(still)
    read_image(still)
    assert len(caplog.records) == 1 and not is_animation(still)


def test_a_gif_that_breaks_after_its_first_frame_is_still_a_picture(tmp_path: Path) -> None:
    noise = [
        Image.fromarray(np.random.default_rng(i).integers(0, 255, (40, 40), dtype=np.uint8)) for i in (0, 1)
    ]
    path = tmp_path / "torn.gif"
    noise[0].save(path, save_all=True, append_images=noise[1:])
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 3 // 4])
    assert read_image(path).shape == (3, 40, 40)


def test_the_several_pictures_of_a_phones_jpeg_are_one_photograph(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = Image.new("RGB", (16, 12), (200, 30, 30)), Image.new("RGB", (8, 6), (0, 0, 255))
    path = tmp_path / "portrait.jpg"
    first.save(path, "MPO", save_all=True, append_images=[second])
    with Image.open(path) as opened:
        assert opened.format == "MPO" and opened.n_frames == 2
    assert read_image(path).shape == (3, 12, 16) and image_size(path) == (16, 12)
    assert not caplog.records and list_images(tmp_path) == [path]

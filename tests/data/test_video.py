"""Videos frame by frame: order, times, uprightness, damage."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from imageio_ffmpeg import get_ffmpeg_exe
from PIL import Image

from lineament.data.images import read_image
from lineament.data.video import VideoReader, is_video, list_videos, video_writer
from lineament.data.video_sources import FfmpegSource
from lineament.errors import DataError


def ffmpeg(*words: str | Path) -> None:
    subprocess.run(
        [get_ffmpeg_exe(), "-nostdin", "-y", "-loglevel", "error", *map(str, words)], check=True, timeout=120
    )


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty frames of 65 x 48, each brighter than the one before, with a red upper left corner."""
    path = tmp_path_factory.mktemp("clips") / "ein Film ü.mp4"
    with video_writer(path, 12.5, "made up") as write:
        for number in range(30):
            pixels = np.full((48, 65, 3), 40 + 6 * number, np.uint8)
            pixels[:16, :16] = (255, 0, 0)
            write(pixels)
    return path


def test_frames_come_in_order_with_their_times(clip: Path):
    with VideoReader(clip) as video:
        assert (video.facts.width, video.facts.height) == (64, 48)
        assert video.facts.rate == pytest.approx(12.5)
        assert video.facts.frames == 30
        frames = list(video)
    assert [frame.index for frame in frames] == list(range(30))
    assert [frame.time for frame in frames] == pytest.approx(
        [number / 12.5 for number in range(30)], abs=1e-4
    )
    levels = torch.stack([frame.image[:, 30, 40].mean() * 255 for frame in frames])
    torch.testing.assert_close(levels, 40.0 + 6 * torch.arange(30), atol=4.0, rtol=0)
    assert video.problem is None
    assert not video.variable
    assert video.rate == pytest.approx(12.5, rel=1e-3)


def test_frames_are_upright(clip: Path, tmp_path: Path):
    turned = tmp_path / "turned.mp4"
    ffmpeg("-display_rotation", "-90", "-i", clip, "-c", "copy", turned)
    with VideoReader(turned) as video:
        image = next(iter(video)).image
    assert image.shape == (3, 64, 48)
    red = (image[0] - image[2]) > 0.5
    assert bool(red[4, -4]) and not bool(red[4, 4]) and not bool(red[-4, -4])


def test_a_variable_rate_keeps_every_frame_and_its_time(clip: Path, tmp_path: Path):
    uneven = tmp_path / "uneven.mkv"
    # After one second everything takes three times as long.
    ffmpeg("-i", clip, "-vf", "setpts='if(lt(T,1),PTS,(3*T-2)/TB)'", "-fps_mode", "passthrough", uneven)
    with VideoReader(uneven) as video:
        times = torch.tensor([frame.time for frame in video])
    assert len(times) == 30
    assert video.variable
    gaps = times.diff()
    assert float(gaps[:10].max()) < 0.1 < 0.2 < float(gaps[-10:].min())


def test_what_can_be_read_of_a_truncated_video_is_read(clip: Path, tmp_path: Path):
    whole, cut = tmp_path / "whole.mkv", tmp_path / "cut.mkv"
    ffmpeg("-i", clip, "-c:v", "mpeg4", whole)
    content = whole.read_bytes()
    cut.write_bytes(content[: len(content) // 2])
    with VideoReader(cut) as video:
        count = len(list(video))
    assert 0 < count < 30
    assert video.problem is not None and "ends early" in video.problem


def test_a_video_can_be_left_in_the_middle(clip: Path):
    with VideoReader(clip) as video:
        assert next(iter(video)).index == 0
    assert isinstance(video._source, FfmpegSource) and video._source._process.poll() is not None


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [("empty.mp4", b"", "empty"), ("text.mp4", b"no video " * 50, "cannot be read as a video")],
)
def test_what_is_no_video_is_refused(tmp_path: Path, name: str, content: bytes, said: str):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError, match=said) as raised:
        VideoReader(path)
    assert name in str(raised.value) and "\n" not in str(raised.value)
    with pytest.raises(DataError, match=r"no video .*nowhere"):
        VideoReader(tmp_path / "nowhere.mp4")


def test_sound_without_pictures_is_refused(tmp_path: Path):
    path = tmp_path / "song.mp4"
    ffmpeg("-f", "lavfi", "-i", "sine=duration=0.2", path)
    with pytest.raises(DataError, match="only sound"):
        VideoReader(path)


def test_a_playlist_reaches_no_network(tmp_path: Path):
    path = tmp_path / "list.mp4"
    path.write_text("#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/secret.ts\n#EXT-X-ENDLIST\n")
    with pytest.raises(DataError, match="cannot be read as a video"):
        VideoReader(path)


def test_videos_of_a_folder(tmp_path: Path):
    for name in ("b.MP4", "a/c.mkv", "a.jpg", ".hidden/d.mp4", ".e.mp4", "__MACOSX/f.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [path.relative_to(tmp_path).as_posix() for path in list_videos(tmp_path)] == ["a/c.mkv", "b.MP4"]
    assert is_video(Path("A.MOV")) and not is_video(Path("a.gif"))


def animation(path: Path, durations: list[int], **options: object) -> Path:
    """Frames of 16 x 12, opaque in the left half, more red from frame to frame."""
    frames = []
    for number in range(len(durations)):
        frame = Image.new("RGBA", (16, 12), (0, 0, 0, 0))
        frame.paste((60 * number, 0, 200, 255), (0, 0, 8, 12))
        # Encoders of WebP cut a frame to what is opaque, and would forget the rest.
        frame.paste((0, 0, 0, 255), (14, 10, 16, 12))
        frames.append(frame)
    if path.suffix == ".webp":
        options["lossless"] = True
    if path.suffix == ".gif":
        options["disposal"] = 2
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=durations, **options)
    return path


@pytest.mark.parametrize("ending", ["gif", "png", "webp"])
def test_animations_are_read_as_videos_with_their_own_times_over_white(tmp_path: Path, ending: str):
    path = animation(tmp_path / f"moving.{ending}", [100, 200, 300, 100])
    with VideoReader(path) as video:
        assert (video.facts.width, video.facts.height, video.facts.frames) == (16, 12, 4)
        assert video.facts.rate == pytest.approx(4 / 0.7)
        frames = list(video)
        assert next(iter(video)).image.equal(frames[0].image), "it can be read again"
    assert [frame.time for frame in frames] == pytest.approx([0.0, 0.1, 0.3, 0.6])
    assert video.problem is None and video.variable
    for number, frame in enumerate(frames):
        assert frame.image.shape == (3, 12, 16)
        left, right = frame.image[:, 6, 2] * 255, frame.image[:, 6, 13]
        torch.testing.assert_close(left, torch.tensor([60.0 * number, 0.0, 200.0]), atol=1.0, rtol=0)
        assert right.min() > 0.99, "transparent pixels lie on white in every frame, as in photos"
    assert frames[0].image.equal(read_image(path))


@pytest.mark.parametrize("ending", ["gif", "png", "webp"])
def test_frames_of_no_time_are_shown_as_browsers_do(tmp_path: Path, ending: str):
    with VideoReader(animation(tmp_path / f"fast.{ending}", [0, 0, 0])) as video:
        assert [frame.time for frame in video] == pytest.approx([0.0, 0.1, 0.2])
        assert video.facts.rate == pytest.approx(10)


def test_animations_are_upright_and_leave_out_the_still_image_beside_them(tmp_path: Path):
    turned = Image.Exif()
    turned[0x0112] = 6
    with VideoReader(animation(tmp_path / "turned.webp", [50] * 3, exif=turned)) as video:
        assert (video.facts.width, video.facts.height) == (12, 16)
        assert all(frame.image.shape == (3, 16, 12) for frame in video)
    with VideoReader(animation(tmp_path / "beside.png", [50] * 3, default_image=True)) as video:
        frames = list(video)
    assert len(frames) == video.facts.frames == 2
    assert float(frames[0].image[0, 6, 2]) * 255 == pytest.approx(60)


@pytest.mark.parametrize("ending", ["gif", "png"])
def test_what_can_be_read_of_a_torn_animation_is_read(tmp_path: Path, ending: str):
    path = tmp_path / f"torn.{ending}"
    noise = [np.random.default_rng(seed).integers(0, 255, (40, 40, 3), np.uint8) for seed in range(6)]
    first, *others = map(Image.fromarray, noise)
    first.save(path, save_all=True, append_images=others, duration=40)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with VideoReader(path) as video:
        frames = list(video)
    assert 0 < len(frames) < 6 and frames[0].image.equal(read_image(path))
    assert video.problem is not None and "ends early or is damaged" in video.problem

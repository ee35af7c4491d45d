"""Videos frame by frame: order, times, uprightness, damage."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from imageio_ffmpeg import get_ffmpeg_exe

from lineament.data.video import VideoReader, is_video, list_videos, video_writer
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
    assert video._process.poll() is not None


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

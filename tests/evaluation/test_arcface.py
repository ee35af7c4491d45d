"""The user's ArcFace network: alignment, layout and range of its input, and files that are none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from lineament.errors import CheckpointError
from lineament.evaluation.arcface import TEMPLATE, ArcFace, alignment
from lineament.faces.schemes import convert_points

pytest.importorskip("onnxruntime")


def _field(number: int, value: int | bytes) -> bytes:
    """A field of a protocol buffer: a number, or bytes."""
    if isinstance(value, int):
        return _number(number << 3) + _number(value)
    return _number(number << 3 | 2) + _number(len(value)) + value


def _number(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def network(*shape: int, axes: tuple[int, ...] = (2, 3)) -> bytes:
    """An ONNX file that answers with the mean of its input over some axes."""

    def tensor(name: bytes, sizes: tuple[int, ...]) -> bytes:
        dimensions = b"".join(_field(1, _field(1, size)) for size in sizes)
        kind = _field(1, _field(1, 1) + _field(2, dimensions))
        return _field(1, name) + _field(2, kind)

    kept = _field(1, b"keepdims") + _field(3, 0) + _field(20, 2)
    over = _field(1, b"axes") + b"".join(_field(8, axis) for axis in axes) + _field(20, 7)
    node = _field(1, b"x") + _field(2, b"y") + _field(4, b"ReduceMean") + _field(5, kept) + _field(5, over)
    left = tuple(size for place, size in enumerate(shape) if place not in axes)
    graph = (
        _field(1, node) + _field(2, b"g") + _field(11, tensor(b"x", shape)) + _field(12, tensor(b"y", left))
    )
    return _field(1, 7) + _field(7, graph) + _field(8, _field(1, b"") + _field(2, 13))


def points() -> torch.Tensor:
    """68 points of an upright face in an image of 200 px."""
    t = torch.linspace(0, 2 * torch.pi, 68)
    return 100 + 60 * torch.stack([t.cos(), t.sin()], -1) * torch.linspace(0.3, 1, 68)[:, None]


@pytest.mark.parametrize("levels", ["-1..1", "0..1", "0..255"])
@pytest.mark.parametrize(("shape", "axes"), [((1, 3, 112, 112), (2, 3)), ((1, 112, 112, 3), (1, 2))])
def test_the_input_has_the_network_s_layout_and_range(
    tmp_path: Path, levels: str, shape: tuple[int, ...], axes: tuple[int, ...]
):
    (tmp_path / "mean.onnx").write_bytes(network(*shape, axes=axes))
    embed = ArcFace(tmp_path / "mean.onnx", levels)  # type: ignore[arg-type]
    image = torch.tensor([0.25, 0.5, 1.0])[:, None, None].expand(3, 200, 200)
    low, high = {"-1..1": (-1, 1), "0..1": (0, 1), "0..255": (0, 255)}[levels]
    expected = low + (high - low) * np.array([0.25, 0.5, 1.0])
    np.testing.assert_allclose(embed(image, points()), expected, rtol=1e-4, atol=1e-5)


def test_faces_are_brought_to_where_the_networks_learnt_them():
    five = torch.tensor(TEMPLATE).double()
    # Points of scheme 68 that become these five.
    placed = torch.zeros(68, 2).double()
    for indices, place in zip((range(36, 42), range(42, 48), (30,), (48,), (54,)), five, strict=True):
        placed[list(indices)] = place
    torch.testing.assert_close(convert_points(placed, "68", "5"), five)
    move = alignment(3.0 * placed + 20.0)
    torch.testing.assert_close(move.apply(3.0 * five + 20.0), five, atol=1e-4, rtol=0)


def test_other_files_are_refused(tmp_path: Path):
    (tmp_path / "text.onnx").write_bytes(b"no network")
    with pytest.raises(CheckpointError, match="no ONNX network"):
        ArcFace(tmp_path / "text.onnx")
    (tmp_path / "other.onnx").write_bytes(network(1, 3, 64, 64))
    with pytest.raises(CheckpointError, match=r"takes images \[N, 3, 112, 112\]"):
        ArcFace(tmp_path / "other.onnx")
    (tmp_path / "map.onnx").write_bytes(network(1, 3, 112, 112, axes=(3,)))
    with pytest.raises(CheckpointError, match="not with one finite vector"):
        ArcFace(tmp_path / "map.onnx")(torch.rand(3, 200, 200), points())

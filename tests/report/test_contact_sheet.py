"""Contact sheets."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lineament.data.images import read_image
from lineament.errors import UsageError
from lineament.report.contact_sheet import contact_sheet, write_sheet


def test_pictures_lie_in_rows() -> None:
    pictures = [torch.full((3, 8, 8), 0.1 * number) for number in range(5)]
    sheet = contact_sheet(pictures)
    assert sheet.shape == (3, 16, 24)
    assert float(sheet[0, 4, 20]) == pytest.approx(0.2) and float(sheet[0, 12, 4]) == pytest.approx(0.3)
    assert float(sheet[0, 12, 20]) == 0.5, "no image, grey"


def test_other_sizes_are_fitted_and_landmarks_dotted() -> None:
    wide = torch.zeros(3, 20, 40)
    sheet = contact_sheet([wide], tile=20, landmarks=[torch.tensor([[19.5, 9.5]])])
    assert sheet.shape == (3, 20, 20)
    dot = (sheet[1] > 0.9).nonzero().float().mean(0)
    torch.testing.assert_close(dot, torch.tensor([9.5, 9.5]), atol=0.6, rtol=0)


def test_written_once(tmp_path: Path) -> None:
    sheet = contact_sheet([torch.rand(3, 16, 16)])
    path = write_sheet(sheet, tmp_path / "sheet.png")
    torch.testing.assert_close(read_image(path), torch.round(sheet * 255) / 255)
    with pytest.raises(UsageError, match="overwrite"):
        write_sheet(sheet, path)
    with pytest.raises(UsageError):
        contact_sheet([])

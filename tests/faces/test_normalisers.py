"""What errors are divided by, in closed form: each on a face whose box is not square and lies left of the picture."""

from __future__ import annotations

import pytest
import torch

from lineament.errors import DataError, UsageError
from lineament.faces.normalisers import normaliser, normaliser_names

# Eyes, nose, mouth corners: a tight box of 30 x 40, with negative coordinates.
FACE = torch.tensor([[-60.0, -50.0], [-30.0, -50.0], [-45.0, -30.0], [-50.0, -10.0], [-40.0, -10.0]])


@pytest.mark.parametrize(
    ("name", "tight", "given"),
    [
        ("inter-ocular", 30.0, 30.0),
        ("inter-pupil", 30.0, 30.0),
        ("box", (30.0 * 40.0) ** 0.5, (6.0 * 8.0) ** 0.5),
        ("box-side", 40.0, 8.0),
        ("diagonal", 50.0, 10.0),
    ],
)
def test_by_hand(name: str, tight: float, given: float):
    measure = normaliser(name)
    assert float(measure(FACE, "5")) == pytest.approx(tight)
    box = torch.tensor([1.0, 2.0, 7.0, 10.0])
    assert float(measure(FACE, "5", box)) == pytest.approx(given)
    # A batch, underscores in the name.
    both = normaliser(name.replace("-", "_"))(torch.stack([FACE, 2 * FACE]), "5")
    assert both.tolist() == pytest.approx([tight, 2 * tight])


def test_the_tight_box_leaves_missing_points_out():
    lost = FACE.clone()
    lost[2] = torch.nan
    assert float(normaliser("box-side")(lost, "5")) == pytest.approx(40.0)
    assert float(normaliser("diagonal")(lost, "5")) == pytest.approx(50.0)


def test_all_are_named_and_others_refused():
    assert normaliser_names() == ["inter-ocular", "inter-pupil", "box", "box-side", "diagonal"]
    with pytest.raises(UsageError, match="did you mean 'box-side'"):
        normaliser("box-sides")
    with pytest.raises(DataError, match="x0, y0, x1, y1"):
        normaliser("box")(FACE, "5", torch.zeros(3))

"""How well the demo's model does on its one real photo, and what may be said of it."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from lineament.faces.landmark_scheme import LandmarkScheme
from lineament.faces.normalisers import normaliser
from lineament.faces.schemes import convert_points, scheme

# At most this share of the mean shape's disagreement is a success. The detector's own points are only good to some per
# cent of the eye distance, so a model that is merely a little closer than the mean shape may as well be no better.
CONVINCING_SHARE = 0.5


@dataclass(frozen=True)
class PhotoScore:
    """Disagreement with the detector's five points on the photo.

    Attributes:
        model: Mean distance of the model's points, % of the inter-pupil distance.
        mean_shape: The same of the mean labelled shape in the face box.
    """

    model: float
    mean_shape: float

    @property
    def convincing(self) -> bool:
        """Whether the photo may be shown as a success; never where a number is not finite."""
        return self.model <= CONVINCING_SHARE * self.mean_shape

    @property
    def sentence(self) -> str:
        """Both numbers, and what follows from them."""
        numbers = (
            f"On the real photo the model disagrees with the detector's five points by {self.model:.1f} % of "
            f"the eye distance, the mean shape by {self.mean_shape:.1f} %"
        )
        if self.convincing:
            return f"{numbers}."
        return (
            f"The model fails on the real photo. {numbers}; a success is at most half of the mean shape's. The "
            "numbers on synthetic faces say nothing about photos then."
        )


def score_photo(
    found: Tensor, found_scheme: LandmarkScheme, placed: Tensor, placed_scheme: LandmarkScheme, five: Tensor
) -> PhotoScore:
    """Measure the model and the mean shape against the detector.

    Args:
        found: ``[K, 2]`` landmarks of the model, pixels of the photo.
        found_scheme: Their scheme, which must convert to scheme 5.
        placed: ``[L, 2]`` landmarks of the mean shape.
        placed_scheme: Their scheme.
        five: ``[5, 2]`` points of the detector.
    """
    length = normaliser("inter-pupil")(five, scheme("5"), None)

    def disagreement(points: Tensor, which: LandmarkScheme) -> float:
        distances = (convert_points(points, which, "5") - five).norm(dim=-1)
        return float(100 * distances.mean() / length)

    return PhotoScore(disagreement(found, found_scheme), disagreement(placed, placed_scheme))

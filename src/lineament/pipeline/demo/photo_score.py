"""How well the landmarks that the demo trains do on its one real photo, and what may be said of them."""

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
            f"on the real photo they disagree with the detector's five points by {self.model:.1f} % of the eye "
            f"distance, the mean shape by {self.mean_shape:.1f} %"
        )
        if self.convincing:
            return f"Landmarks trained here: {numbers}."
        return (
            f"The landmarks trained here fail on the real photo and are not shown on it: {numbers}, and a success is "
            "at most half of that. Their numbers on synthetic faces say nothing about photos then."
        )


def detector_disagreement(points: Tensor, which: LandmarkScheme, five: Tensor) -> float:
    """Mean distance of landmarks from the detector's five points, % of the inter-pupil distance.

    Args:
        points: ``[K, 2]`` landmarks, pixels of the photo.
        which: Their scheme, which must convert to scheme 5.
        five: ``[5, 2]`` points of the detector.
    """
    length = normaliser("inter-pupil")(five, scheme("5"), None)
    distances = (convert_points(points, which, "5") - five).norm(dim=-1)
    return float(100 * distances.mean() / length)

"""Images of one size for methods that learn from nothing else: checked by their headers, cut and scaled, mirrored."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image
from torch import Tensor

from lineament.data.sample import FaceSample, FaceSource
from lineament.data.subset import digest, sample_id, sample_kind
from lineament.eight_bit import from_pil, quantised, to_pil
from lineament.errors import DataError


@dataclass(frozen=True)
class ImageCounts:
    """What :func:`count_images` found.

    Attributes:
        total: Images.
        resized: Of another size than the one that is learnt.
        enlarged: Of them, those whose middle square is smaller.
        grey: With one channel, which becomes three equal ones.
        transparent: With transparency, which is laid on white.
    """

    total: int
    resized: int = 0
    enlarged: int = 0
    grey: int = 0
    transparent: int = 0

    def summary(self) -> str:
        """One line for people."""
        parts = [f"{self.total} images"]
        if self.resized:
            larger = f", {self.enlarged} of them enlarged" if self.enlarged else ""
            parts.append(f"{self.resized} cut to their middle square and scaled{larger}")
        if self.grey:
            parts.append(f"{self.grey} grey, taken as three equal channels")
        if self.transparent:
            parts.append(f"{self.transparent} with transparency, laid on white")
        return "; ".join(parts)


def count_images(source: FaceSource, size: int, resize: bool) -> ImageCounts:
    """Look at the header of every image of a source that knows its files; files that cannot be read are passed over.

    Args:
        source: The images.
        size: Side that they must have, in pixels.
        resize: Whether other sizes are allowed.

    Raises:
        DataError: If an image has another size and ``resize`` is false; it counts them and names the first.
    """
    resized = enlarged = grey = transparent = 0
    first = ""
    for index in range(len(source)):
        try:
            kind = sample_kind(source, index)
        except DataError:
            # Reading the sample reports it by name.
            continue
        if kind is None:
            continue
        if (kind.width, kind.height) != (size, size):
            resized += 1
            enlarged += min(kind.width, kind.height) < size
            first = first or f"{sample_id(source, index)} is {kind.width}x{kind.height}"
        grey += kind.grey
        transparent += kind.transparent
    if resized and not resize:
        raise DataError(
            f"{resized} of {len(source)} images of {source.name} are not {size}x{size} ({first}): give --resize to cut "
            "each to its middle square and scale it, or another --resolution."
        )
    return ImageCounts(len(source), resized, enlarged, grey, transparent)


def square_image(image: Tensor, size: int, resize: bool, name: str) -> Tensor:
    """An image as it is learnt: ``[3, size, size]`` float32 in 0..1, multiples of 1/255.

    Args:
        image: ``[3, H, W]`` in 0..1.
        size: Side in pixels.
        resize: Cut an image of another size to its middle square and scale it by Lanczos' filter, which is as wide as
            a new pixel where the image shrinks.
        name: Of the image, for messages.

    Raises:
        DataError: If it has another size and ``resize`` is false.
    """
    height, width = image.shape[-2:]
    if (height, width) == (size, size):
        return quantised(image)
    if not resize:
        raise DataError(
            f"{name} is {width}x{height}, not {size}x{size}: give --resize to cut it to its middle square and scale it."
        )
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = to_pil(image[:, top : top + side, left : left + side])
    return from_pil(square.resize((size, size), Image.Resampling.LANCZOS))


class Mirrored:
    """A source of images and after it their mirror images, without labels; ids of the latter end in ``#mirrored``."""

    def __init__(self, source: FaceSource) -> None:
        self.source = source
        self.name = f"{source.name} mirrored"

    @property
    def fingerprint(self) -> str:
        """Changes with the source."""
        return digest("mirrored", self.source.fingerprint)

    def __len__(self) -> int:
        return 2 * len(self.source)

    def __getitem__(self, index: int) -> FaceSample:
        if not -len(self) <= index < len(self):
            raise IndexError(f"sample {index} does not exist: {self.name} holds {len(self)} samples.")
        second, place = divmod(index % len(self), len(self.source))
        sample = self.source[place]
        if second:
            return FaceSample(f"{sample.id}#mirrored", sample.image.flip(2), path=sample.path)
        return FaceSample(sample.id, sample.image, path=sample.path)

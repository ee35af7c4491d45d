"""What a trained run can do for others: one small protocol for each capability, and the records it answers with.

A recipe's :meth:`~lineament.training.recipe.Recipe.predictor` gives an object that has one capability or several. The
verbs and the evaluation ask for a capability with :func:`capability` and know no method by name; a new method that
answers one of these protocols works with all of them. A predictor may also say in words what it is:

``holds``
    What the run holds, for error sentences: ``"descriptors without landmarks"``.
``hints``
    Name of a protocol that it lacks -> what to do instead, with ``{run}`` for the run directory.

Pixels are those of the image that was given: centres at integers, x right, y down. Images are RGB in 0..1.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor, nn

from lineament.errors import UsageError

if TYPE_CHECKING:
    from lineament.faces.landmark_scheme import LandmarkScheme
    from lineament.geometry.multiplane import MultiplaneImage, SphereCameras
    from lineament.geometry.pose_distribution import PoseDistribution


@dataclass(frozen=True)
class Landmarks:
    """Landmarks of N faces of one image.

    Attributes:
        points: ``[N, K, 2]`` xy in pixels of the image.
        confidence: ``[N, K]`` in 0..1, larger where the method believes itself more; what it measures is the method's.
        std_px: ``[N, K]`` predicted standard deviation of each point's error, per coordinate, in pixels of the image;
            None where a method predicts none.
        visible: ``[N, K]`` bool, True where the point is seen; None where a method does not tell.
        uncertainty: ``[N]`` how unsure the method is that there is a face at all
            (:func:`~lineament.faces.uncertainty.face_uncertainty`); None where it does not tell.
    """

    points: Tensor
    confidence: Tensor
    std_px: Tensor | None = None
    visible: Tensor | None = None
    uncertainty: Tensor | None = None


@runtime_checkable
class LandmarkPredictor(Protocol):
    """Puts landmarks on faces whose boxes are known."""

    @property
    def scheme(self) -> LandmarkScheme:
        """What the landmarks mean."""
        ...

    def landmarks(self, image: Tensor, boxes: Tensor) -> Landmarks:
        """Find the landmarks of the faces in ``boxes`` ``[N, 4]`` (x0, y0, x1, y1) of an image ``[3, H, W]``.

        Raises:
            DataError: If a box is none.
        """
        ...


@dataclass(frozen=True)
class Descriptors:
    """Dense descriptors of N faces of one image.

    Attributes:
        features: ``[N, C, h, w]``.
        to_view: ``[N, 2, 3]`` float64: pixels of the image -> pixels of the square that was described.
        side: Side of that square in pixels.
        stride: Its pixels per step of the descriptors: row i and column j describe its pixel (stride j, stride i).
        box_side: Pixels of the square that the side of a face box takes, by which distances are made comparable.
        smooth: Whether cosines fall off around a match as a smooth bell, whose peak lies between the steps.
    """

    features: Tensor
    to_view: Tensor
    side: int
    stride: float
    box_side: float
    smooth: bool = False


@runtime_checkable
class DenseDescriptor(Protocol):
    """Describes every place of a face by a vector, alike for the same place of any other face."""

    def describe(self, image: Tensor, boxes: Tensor) -> Descriptors:
        """Describe the faces in ``boxes`` ``[N, 4]`` of an image ``[3, H, W]``.

        Raises:
            DataError: If a box is none.
        """
        ...

    def describe_views(self, views: Tensor) -> Tensor:
        """Describe squares ``[B, 3, s, s]`` that are cut already: ``[B, C, h, w]``, a step every s / w pixels."""
        ...


@dataclass(frozen=True)
class DepthFit:
    """What a source and a target face give.

    Attributes:
        depth: ``[B, K]`` depth of the source keypoints in half the sum of its image's width and height, larger away
            from the camera.
        affine: ``[B, 2, 4]`` map of (x, y, depth, 1) to the target keypoints, all over the size of their images.
    """

    depth: Tensor
    affine: Tensor


class PairFits(Protocol):
    """Depths and maps of one face given others, a part of the others at a time."""

    def __call__(self, source: int, targets: slice) -> DepthFit:
        """Depth of face ``source`` given each face of ``targets``, and the maps on to them."""
        ...


@runtime_checkable
class DepthPredictor(Protocol):
    """Predicts the depth of one face's keypoints, given another's (DepthNets)."""

    @property
    def scheme(self) -> LandmarkScheme:
        """What the keypoints mean."""
        ...

    @property
    def single(self) -> bool:
        """Whether the depth does not depend on the target."""
        ...

    def __call__(self, source: Tensor, target: Tensor) -> DepthFit:
        """Depth and map of keypoints ``[B, K, 2]`` over the size of their images."""
        ...

    def depth(self, source: Tensor, target: Tensor) -> Tensor:
        """Depth ``[B, K]`` of source keypoints ``[B, K, 2]`` over the image's size, given target keypoints."""
        ...

    def own_depth(self, source: Tensor, targets: Tensor) -> Tensor:
        """Depth ``[B, K]`` of source keypoints for no target in particular; ``targets`` ``[T, K, 2]`` may stand in."""
        ...

    def pair_fits(self, keypoints: Tensor, depth: Tensor | None = None) -> PairFits:
        """Depths and maps of all pairs of faces ``[N, K, 2]``; with ``depth`` ``[N, K]`` maps for these depths."""
        ...


@dataclass(frozen=True)
class Reconstruction:
    """A face and what an autoencoder makes of it.

    Attributes:
        image: ``[3, s, s]`` what the networks see of the face.
        made: ``[3, s, s]`` their reconstruction.
        points: ``[K, 2]`` the sample's landmarks in pixels of ``image``, NaN where unknown; None without any.
    """

    image: Tensor
    made: Tensor
    points: Tensor | None


@runtime_checkable
class Reconstructor(Protocol):
    """Encodes faces and makes images of the codes."""

    @property
    def cut_words(self) -> str:
        """How faces are cut, for cards."""
        ...

    def reconstruct(self, samples: list[Any]) -> list[Reconstruction]:
        """Reconstruct the faces of samples (:class:`~lineament.data.sample.FaceSample`), all at once."""
        ...


@runtime_checkable
class FaceTiles(Protocol):
    """Shows what a model makes of a face."""

    def tiles(self, image: Tensor, box: Tensor) -> Tensor:
        """An image ``[3, h, w]`` of the steps from the face in ``box`` ``[4]`` to the answer, side by side."""
        ...


@runtime_checkable
class ImageGenerator(Protocol):
    """Draws images like those that it learnt from (a GAN): a latent vector gives one."""

    @property
    def latent_size(self) -> int:
        """Length of a latent vector."""
        ...

    @property
    def resolution(self) -> int:
        """Pixels of a side."""
        ...

    def images(self, latents: Tensor, psi: float = 1.0, batch: int = 8) -> Tensor:
        """Draw images ``[B, 3, R, R]`` RGB in 0..1, on the CPU, the same for the same latents.

        Args:
            latents: ``[B, latent_size]``, unit normal.
            psi: Share of the way from the mean style.
            batch: Images drawn at once.
        """
        ...


@runtime_checkable
class PooledFeatures(Protocol):
    """Describes a whole image by one vector, by which sets of images are compared (Frechet and kernel distances)."""

    def pooled_features(self, images: Tensor) -> Tensor:
        """Features ``[B, C]`` of images ``[B, 3, H, W]`` in 0..1, of any size, on the CPU."""
        ...


@runtime_checkable
class ViewGenerator(Protocol):
    """Draws faces from any side (GMPI): a latent vector gives a face, a camera the view of it."""

    @property
    def latent_size(self) -> int:
        """Length of a latent vector."""
        ...

    def views(self, latents: Tensor, world_to_camera: Tensor, intrinsics: Tensor) -> Tensor:
        """Draw faces ``[B, latent_size]``, each seen by its camera.

        Args:
            latents: ``[B, latent_size]``.
            world_to_camera: ``[B, 3, 4]``, the head at the origin, millimetres.
            intrinsics: ``[B, 3, 3]`` in pixels of the image that is drawn.

        Returns:
            ``[B, 3, H, W]`` RGB in 0..1.
        """
        ...


@runtime_checkable
class MultiplaneGenerator(Protocol):
    """Draws multiplane images (GMPI): a latent vector gives one, which any camera of a range can see."""

    @property
    def latent_size(self) -> int:
        """Length of a latent vector."""
        ...

    @property
    def resolution(self) -> int:
        """Texels of a side."""
        ...

    @property
    def planes(self) -> Tensor:
        """``[P, 3]`` z, height and width of the planes of training."""
        ...

    @property
    def any_planes(self) -> bool:
        """Whether it draws any number of planes, or those of training alone."""
        ...

    @property
    def cameras(self) -> SphereCameras:
        """From where its images are seen."""
        ...

    @property
    def poses(self) -> PoseDistribution:
        """How the cameras of its training were spread."""
        ...

    def multiplane(self, latent: Tensor, planes: int | None = None, psi: float = 1.0) -> MultiplaneImage:
        """Draw one multiplane image.

        Args:
            latent: ``[latent_size]``, unit normal.
            planes: Their number; None: as in training.
            psi: Share of the way from the mean style.

        Raises:
            UsageError: If it draws no such number of planes.
        """
        ...

    def opacities(self, latent: Tensor, planes: int, psi: float = 1.0, batch: int = 32) -> Iterator[Tensor]:
        """Opacities of evenly spaced planes, a part at a time: ``[n, R, R]`` on the CPU, the nearest first.

        The last plane is what the networks make of it, and not opaque. Planes are those of the box that all planes of
        training but the last form.

        Args:
            latent: ``[latent_size]``, unit normal.
            planes: Their number; they stand from the first to the last z of :attr:`planes`.
            psi: Share of the way from the mean style.
            batch: Planes in a part, which bounds the memory.

        Raises:
            UsageError: If it draws no such number of planes.
        """
        ...


@dataclass(frozen=True)
class Codes:
    """Expression codes of B captures of a headset.

    Attributes:
        code: ``[B, C]``.
        slop: ``[B, 6]`` how the headset sits other than calibrated: rotation vector in radians, then millimetres.
    """

    code: Tensor
    slop: Tensor


@runtime_checkable
class CodeEncoder(Protocol):
    """Finds the expression code of an avatar in the images of a headset's cameras (Rosetta)."""

    @property
    def cameras(self) -> tuple[str, ...]:
        """Names of the cameras, in the order in which their images are given."""
        ...

    def codes(self, images: Tensor) -> Codes:
        """Encode captures ``[B, V, 1, H, W]`` of V infrared cameras in 0..1."""
        ...


@dataclass(frozen=True)
class PlainNetwork:
    """What a predictor computes, from tensors to tensors, for other programs.

    Attributes:
        network: Takes the inputs in their order; gives the outputs, a tensor or a tuple of them. On the CPU, in
            evaluation mode, a copy or the predictor's own.
        inputs: Name -> shape: numbers, or words for sizes that vary, the same word for the same size. float32.
        outputs: Names.
        facts: Plain values that tell what goes in and what comes out: pre-processing, units, scheme.
        multiples: Of sizes that vary, what they are multiples of.
        jumping: Outputs that rounding may change by much, such as the place of the largest of two equal peaks.
    """

    network: nn.Module
    inputs: Mapping[str, tuple[int | str, ...]]
    outputs: tuple[str, ...]
    facts: Mapping[str, Any]
    multiples: Mapping[str, int] = field(default_factory=dict)
    jumping: tuple[str, ...] = ()


@runtime_checkable
class Exportable(Protocol):
    """Has a network that other programs can run."""

    def plain_network(self) -> PlainNetwork:
        """The network with everything around it that is made of tensors.

        Raises:
            UsageError: If what this predictor does is no function of tensors; one sentence says why.
        """
        ...


# What the capabilities are called in error sentences, and where one is found. Features of whole images are left out:
# they serve to compare sets of images, and nobody asks a model for them.
_WORDS = {
    "LandmarkPredictor": "landmarks",
    "DenseDescriptor": "dense descriptors",
    "DepthPredictor": "depths of keypoints",
    "Reconstructor": "reconstructions of faces",
    "FaceTiles": "tiles of what the model makes of a face",
    "ImageGenerator": "images without views",
    "ViewGenerator": "views of faces",
    "MultiplaneGenerator": "multiplane images",
    "CodeEncoder": "expression codes",
}

T = TypeVar("T")


def capability_words(predictor: object) -> list[str]:
    """What a predictor can be asked for, in words, one for each of its capabilities."""
    return [words for name, words in _WORDS.items() if isinstance(predictor, globals()[name])]


def words_of(predictor: object) -> str:
    """What a predictor holds, in words: its own, else the capabilities that it has."""
    said = getattr(predictor, "holds", None)
    if isinstance(said, str):
        return said
    return " and ".join(capability_words(predictor)) or "nothing that can be asked for"


def capability(predictor: object, wanted: type[T], what: str, run: str = "RUN", hint: str = "") -> T:
    """Return the predictor as something that has a capability.

    Args:
        predictor: What a recipe gave.
        wanted: One of the protocols of this module.
        what: What was loaded, for the message: ``"the run runs/faces (dve-smallnet-16d)"``.
        run: The run directory, for the hint.
        hint: What to do without it, where the predictor itself has no better advice.

    Raises:
        UsageError: If it lacks the capability; one sentence says what the run holds and what to do instead.
    """
    if isinstance(predictor, wanted):
        return predictor
    name = wanted.__name__
    hints: Mapping[str, str] = getattr(predictor, "hints", {})
    missing = _WORDS.get(name, name)
    elsewhere = f"give a run with {missing} (`lineament recipes` lists what can be trained)"
    advice = hints.get(name) or hint or elsewhere
    held = words_of(predictor)
    without = "" if f"without {missing}" in held else f", no {missing}"
    raise UsageError(f"{what} holds {held}{without}: {advice.format(run=run)}.")


def check_float32(dtype: torch.dtype | None, what: str) -> None:
    """Refuse a number type that a predictor cannot compute in.

    Raises:
        UsageError: If it is another than float32.
    """
    if dtype not in (None, torch.float32):
        name = str(dtype).removeprefix("torch.")
        raise UsageError(f"{what} computes in float32 alone, not in {name}: leave --bf16 out.")

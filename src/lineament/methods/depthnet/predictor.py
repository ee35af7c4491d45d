"""A trained DepthNet apart from its training: depths and affine maps from keypoints in pixels or over the image."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from lineament.capabilities import DepthFit, PairFits, PlainNetwork, check_float32
from lineament.errors import DataError
from lineament.faces.schemes import LandmarkScheme, as_scheme, convert_points, scheme
from lineament.methods.depthnet.folded import FoldedNetwork
from lineament.methods.depthnet.model import Solve, check_keypoints, find_affine
from lineament.methods.depthnet.two_view import TwoViewDepthNet

POINTS_SCHEME = "66"
# What can be done with a run.
READ_BY = (
    "`lineament depth PHOTO --model {run}`, `lineament turn PHOTO --model {run}` and `lineament evaluate depth {run}` "
    "read it"
)


class DepthPredictor:
    """Predicts the depth of one face's keypoints, given another's.

    Args:
        network: A trained network of model.py.
        solve: How its affine map is found.
        sigma: Damping, for the ways that have one.
        device: Where the network is put; None leaves it where it is.
        dtype: None or float32, in which it computes.

    Attributes:
        scheme: The landmark scheme of the keypoints.
        single: Whether the depth does not depend on the target.
    """

    single = False
    holds = "depths of keypoints"
    hints: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("LandmarkPredictor", "DenseDescriptor", "Reconstructor", "FaceTiles"), READ_BY
    )

    def __init__(
        self,
        network: nn.Module,
        solve: Solve = "fixed",
        sigma: float = 0.0,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        check_float32(dtype, "a DepthNet")
        self.network = network.to(device).eval()
        self.solve: Solve = solve
        self.sigma = sigma
        self.scheme: LandmarkScheme = scheme(POINTS_SCHEME)

    @torch.no_grad()
    def depth(self, source: Tensor, target: Tensor) -> Tensor:
        """Depth ``[B, K]`` of source keypoints ``[B, K, 2]`` over the image's size, given target keypoints."""
        return self._predict(source, target)[0]

    def plain_network(self) -> PlainNetwork:
        """Depths of keypoints; where the target corrects them by least squares, the face's own. See :mod:`.plain`."""
        from lineament.methods.depthnet.plain import plain_depth

        own = self.network.own_depth if isinstance(self.network, TwoViewDepthNet) else None
        return plain_depth(self.network, self.scheme, own)

    @torch.no_grad()
    def own_depth(self, source: Tensor, targets: Tensor) -> Tensor:
        """Depth ``[B, K]`` of source keypoints ``[B, K, 2]`` for no target in particular.

        Networks that know a face's own depth give it; of the others it is the mean over ``targets`` ``[T, K, 2]``.
        """
        if isinstance(self.network, TwoViewDepthNet):
            check_keypoints(self.network, source)
            return self.network.own_depth(source)
        if self.single:
            return self.depth(source, source)
        means = [self.depth(face.expand_as(targets), targets).mean(0) for face in source]
        return torch.stack(means)

    @torch.no_grad()
    def __call__(self, source: Tensor, target: Tensor) -> DepthFit:
        """Depth and affine map of source and target keypoints, ``[B, K, 2]`` each, over the size of their images.

        Raises:
            UsageError: If the number of keypoints is not the network's.
        """
        depth, learnt = self._predict(source, target)
        return DepthFit(
            depth, find_affine(self.solve, source, depth, target, sigma=self.sigma, learnt=learnt)
        )

    def _predict(self, source: Tensor, target: Tensor) -> tuple[Tensor, Tensor | None]:
        check_keypoints(self.network, source, target)
        return self.network(source, target)

    def pair_fits(self, keypoints: Tensor, depth: Tensor | None = None) -> PairFits:
        """Depths and maps of all pairs of faces, made ready once.

        Args:
            keypoints: ``[N, K, 2]`` over the size of their images.
            depth: ``[N, K]`` true depths, for which the maps are then found in place of the predicted ones.
        """
        check_keypoints(self.network, keypoints)
        predicted = None if depth is not None and self.solve != "learnt" else self._pair_depths(keypoints)

        @torch.no_grad()
        def fits(source: int, targets: slice) -> DepthFit:
            target = keypoints[targets]
            own = keypoints[source].expand_as(target)
            found, learnt = (None, None) if predicted is None else predicted(source, targets)
            used = found if depth is None else depth[source].expand(len(target), -1)
            assert used is not None
            return DepthFit(used, find_affine(self.solve, own, used, target, sigma=self.sigma, learnt=learnt))

        return fits

    @torch.no_grad()
    def _pair_depths(self, keypoints: Tensor) -> Callable[[int, slice], tuple[Tensor, Tensor | None]]:
        """Depths of one source given a slice of the targets, and predicted maps or None."""
        if self.single:
            own = self.depth(keypoints, keypoints)
            return lambda source, targets: (own[source].expand(targets.stop - targets.start, -1), None)
        if isinstance(self.network, TwoViewDepthNet):
            return self.network.pair_depths(keypoints)
        return FoldedNetwork(self.network, keypoints)

    def normalise(self, points: Tensor, size: tuple[int, int], which: str | LandmarkScheme) -> Tensor:
        """Keypoints as the network takes them.

        Args:
            points: ``[..., K, 2]`` xy pixels in any scheme that converts to the predictor's.
            size: Width and height of the image in pixels.
            which: Scheme of ``points``.

        Returns:
            ``[..., 66, 2]`` float32 over the image's size.

        Raises:
            DataError: If the size or a coordinate is no number that an image can have.
            UsageError: If the scheme cannot be converted.
        """
        if min(size) < 1 or not bool(torch.isfinite(points).all()):
            raise DataError(f"keypoints must be finite and their image not empty, not {size[0]}x{size[1]}.")
        converted = convert_points(points[..., :2].double(), as_scheme(which), self.scheme)
        return (converted / torch.tensor(size, dtype=torch.float64)).float()

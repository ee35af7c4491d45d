"""A DepthNet as a function of tensors, for other programs."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from lineament.capabilities import PlainNetwork
from lineament.faces.schemes import LandmarkScheme, scheme_content


class _Depth(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, source: Tensor, target: Tensor | None = None) -> Tensor:
        """Depth ``[B, K]`` of keypoints ``[B, K, 2]``."""
        depth: Tensor = self.network(source, source if target is None else target)[0]
        return depth


class _OwnDepth(nn.Module):
    """A network that gives depths of one face by another way than its ``forward``."""

    def __init__(self, network: nn.Module, own_depth: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.network = network
        self.own_depth = own_depth

    def forward(self, source: Tensor) -> Tensor:
        """Depth ``[B, K]`` of keypoints ``[B, K, 2]``, whatever the target."""
        return self.own_depth(source)


def plain_depth(
    network: nn.Module, scheme: LandmarkScheme, own_depth: Callable[[Tensor], Tensor] | None = None
) -> PlainNetwork:
    """Depth of keypoints; the affine map on to the target is what least squares find (docs/methods/depthnet.md).

    Args:
        network: Takes source and target keypoints.
        scheme: What they mean.
        own_depth: What gives the depth of a face from itself alone; then the target is no input.
    """
    keypoints = ("batch", len(scheme), 2)
    inputs: dict[str, tuple[int | str, ...]] = {"source": keypoints}
    if own_depth is None:
        inputs["target"] = keypoints
    told = "keypoints xy in pixels over the width and height of their image"
    return PlainNetwork(
        (_Depth(network) if own_depth is None else _OwnDepth(network, own_depth)).eval(),
        inputs,
        ("depth",),
        {
            "input": dict.fromkeys(inputs, told),
            "output": {
                "depth": "of the source's keypoints in half the sum of its image's width and height, larger away from "
                "the camera"
            },
            "scheme": scheme_content(scheme),
        },
    )

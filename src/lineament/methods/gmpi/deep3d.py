"""Deep3DFaceRecon's network: coefficients of a face, among them its pose, from an aligned image of 224 px.

Deng et al., "Accurate 3D face reconstruction with weakly-supervised learning" (CVPR workshops 2019): a ResNet-50 (He et
al., CVPR 2016, with the stride in the 3x3 convolution) whose mean over the last map is mapped to 257 numbers. The
weights are the user's own (``epoch_20.pth``); nothing in their file is executed.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lineament.errors import CheckpointError
from lineament.faces.deep3d_alignment import SIDE
from lineament.interop.torch_file import read_torch_file

# What the 257 numbers are, in their order; the last three are the translation.
COEFFICIENTS = {"id": 80, "exp": 64, "tex": 80, "angle": 3, "gamma": 27, "trans": 3}
OUTPUTS = sum(COEFFICIENTS.values())
# Channels of a stage's inner convolutions, and its blocks.
STAGES = ((64, 3), (128, 4), (256, 6), (512, 3))
_WIDER = 4
# The published layers that the 257 numbers come out of: x and y of the translation, then its z.
_LAYERS = (80, 64, 80, 3, 27, 2, 1)
_NETWORK = "net_recon"


class Bottleneck(nn.Module):
    """Convolutions of 1x1, 3x3 and 1x1 around a shortcut, each with batch normalisation."""

    def __init__(self, inputs: int, inner: int, stride: int) -> None:
        super().__init__()
        outputs = _WIDER * inner
        self.conv1, self.bn1 = nn.Conv2d(inputs, inner, 1, bias=False), nn.BatchNorm2d(inner)
        self.conv2, self.bn2 = nn.Conv2d(inner, inner, 3, stride, 1, bias=False), nn.BatchNorm2d(inner)
        self.conv3, self.bn3 = nn.Conv2d(inner, outputs, 1, bias=False), nn.BatchNorm2d(outputs)
        self.downsample: nn.Module | None = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, inputs, H, W]`` to ``[B, 4 * inner, H / stride, W / stride]``."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.conv2(x)))
        return F.relu(self.bn3(self.conv3(x)) + shortcut)


class Deep3DNetwork(nn.Module):
    """ResNet-50 with 257 outputs, ordered as :data:`COEFFICIENTS`."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)
        inputs = 64
        for number, (inner, blocks) in enumerate(STAGES, start=1):
            stride = 1 if number == 1 else 2
            stage = [
                Bottleneck(_WIDER * inner if later else inputs, inner, 1 if later else stride)
                for later in range(blocks)
            ]
            self.add_module(f"layer{number}", nn.Sequential(*stage))
            inputs = _WIDER * inner
        self.fc = nn.Linear(inputs, OUTPUTS)

    def forward(self, images: Tensor) -> Tensor:
        """Coefficients of aligned faces.

        Args:
            images: ``[B, 3, 224, 224]`` RGB in 0..1, as :func:`lineament.faces.deep3d_alignment.align_image` cuts them.

        Returns:
            ``[B, 257]``.
        """
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(images))), 3, 2, 1)
        for number in range(1, len(STAGES) + 1):
            x = getattr(self, f"layer{number}")(x)
        return self.fc(x.mean((2, 3)))


def load_deep3d(path: Path) -> Deep3DNetwork:
    """Read the published weights, ready to predict.

    The file holds the network under ``net_recon`` beside optimisers and schedulers, which are left out, or is the
    network's own state. Its names are those of the published program, all of them and no others.

    Args:
        path: ``epoch_20.pth``.

    Raises:
        CheckpointError: If it cannot be read or is of another network; it names the first weight that does not fit.
    """
    content = read_torch_file(path).data
    stored = content.get(_NETWORK, content) if isinstance(content, Mapping) else None
    if not isinstance(stored, Mapping) or not stored:
        raise CheckpointError(
            f"{path} holds no weights by name: give epoch_20.pth of the pretrained Deep3DFaceRecon."
        )
    with torch.device("meta"):
        network = Deep3DNetwork()
    wanted = network.state_dict()
    state = _own_names(path, stored, network.fc.in_features)
    for name, like in wanted.items():
        value = state.get(name)
        if value is None:
            raise CheckpointError(f"{path} lacks the weight {name!r}: {_OTHER}")
        if not isinstance(value, Tensor) or value.shape != like.shape:
            shape = list(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise CheckpointError(f"{path} has {name!r} as {shape}, not {list(like.shape)}: {_OTHER}")
        if not bool(value.isfinite().all()):
            raise CheckpointError(f"{path} has values in {name!r} that are not finite: fetch the file again.")
    beyond = sorted(state.keys() - wanted.keys())
    if beyond:
        raise CheckpointError(f"{path} has a weight {beyond[0]!r} that does not belong there: {_OTHER}")
    network.load_state_dict({name: state[name].to(like.dtype) for name, like in wanted.items()}, assign=True)
    return network.eval().requires_grad_(False)


_OTHER = "it is not the ResNet-50 with 257 outputs of the pretrained Deep3DFaceRecon (epoch_20.pth)."


def _own_names(path: Path, stored: Mapping[Any, Any], features: int) -> dict[str, Any]:
    """The published names without ``backbone.``, the layers for single coefficients joined into one."""
    state: dict[str, Any] = {}
    layers: dict[str, Any] = {}
    for key, value in stored.items():
        name = str(key).removeprefix("module.")
        if name.startswith("final_layers."):
            layers[name.removeprefix("final_layers.")] = value
        else:
            state[name.removeprefix("backbone.")] = value
    if not layers:
        return state
    for part, dims in (("weight", features), ("bias", 0)):
        shapes = [[size, dims, 1, 1] if dims else [size] for size in _LAYERS]
        found = [layers.pop(f"{number}.{part}", None) for number in range(len(_LAYERS))]
        for number, (value, shape) in enumerate(zip(found, shapes, strict=True)):
            if not isinstance(value, Tensor) or list(value.shape) != shape:
                told = list(value.shape) if isinstance(value, Tensor) else "nothing"
                raise CheckpointError(
                    f"{path} has {told} as 'final_layers.{number}.{part}', not {shape}: {_OTHER}"
                )
        state[f"fc.{part}"] = torch.cat([value.flatten(1) if dims else value for value in found])
    return state | {f"final_layers.{name}": value for name, value in layers.items()}


def predict_coefficients(network: Deep3DNetwork, aligned: Tensor) -> dict[str, Tensor]:
    """Coefficients of aligned faces by name.

    Args:
        network: With weights.
        aligned: ``[B, 3, 224, 224]`` uint8.

    Returns:
        Name of :data:`COEFFICIENTS` -> ``[B, size]`` float32; ``angle`` and ``trans`` are what
        :func:`lineament.methods.gmpi.datasets.deep3d_world_to_camera` takes.
    """
    assert aligned.shape[1:] == (3, SIDE, SIDE)
    device = network.fc.weight.device
    with torch.inference_mode():
        numbers = network(aligned.to(device).float() / 255).float().cpu()
    return dict(zip(COEFFICIENTS, numbers.split(list(COEFFICIENTS.values()), dim=1), strict=True))

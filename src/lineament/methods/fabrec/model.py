"""The networks of 3FabRec together: what sizes there are, how images are normalised, how the parts are called."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from lineament.errors import UsageError
from lineament.methods.fabrec.decoder import Decoder
from lineament.methods.fabrec.discriminators import CodeDiscriminator, ImageDiscriminator
from lineament.methods.fabrec.encoder import Encoder
from lineament.methods.fabrec.transfer import TransferLayers

# Channel means of RGB faces in 0..1 that published networks were trained without; standard deviations are left alone.
IMAGE_MEAN = (0.518, 0.418, 0.361)

# Sides of an image; 64 is ours, the others are published.
SIZES = (64, 128, 256, 512)

# Names of the networks in a run -> prefix of their weights in published checkpoints.
PREFIXES = {
    "encoder": "Q",
    "decoder": "P",
    "code_discriminator": "D_z",
    "image_discriminator": "D",
    "transfer": "LMH",
}


@dataclass(frozen=True)
class Layout:
    """Sizes of the networks.

    Attributes:
        size: Side of the image in pixels, one of :data:`SIZES`.
        width: Channels of the widest maps; 64 in the published models. All other channels follow.
        code: Dimensions of the code.
        linear: A linear map beside the encoder's convolutions; the published models have none.
        linear_decoder: The same beside the decoder's.
    """

    size: int = 256
    width: int = 64
    code: int = 99
    linear: bool = False
    linear_decoder: bool = False

    def __post_init__(self) -> None:
        """Raise ``UsageError`` on sizes there are no networks for."""
        if self.size not in SIZES:
            raise UsageError(f"fabrec has networks for images of {SIZES} px, not {self.size}.")
        if self.width < 2 or self.width % 2 or self.code < 1:
            raise UsageError(
                f"fabrec needs an even width of at least 2 and a code of at least 1, not {self.width}, {self.code}."
            )

    @property
    def transfers(self) -> int:
        """Decoder stages from which landmarks are read."""
        return 3 if self.size == 64 else 4

    @property
    def heatmap(self) -> int:
        """Side of a heatmap in pixels."""
        return 2 ** (3 + self.transfers)

    def autoencoder(self) -> dict[str, nn.Module]:
        """Encoder, decoder and both discriminators."""
        hidden = 1000 if self.width == 64 else 16 * self.width
        return {
            "encoder": Encoder(self.size, self.width, self.code, self.linear),
            "decoder": Decoder(self.size, self.width, self.code, self.linear_decoder),
            "code_discriminator": CodeDiscriminator(self.code, hidden),
            "image_discriminator": ImageDiscriminator(self.width // 2, 4 if self.size == 64 else 5),
        }

    def transfer(self, landmarks: int, lateral: bool = False) -> TransferLayers:
        """The landmark head."""
        return TransferLayers(landmarks, self.width, self.transfers, lateral)


class Fabrec(nn.Module):
    """All networks under their published names, so that whole state dictionaries can be compared and exchanged.

    Args:
        layout: Sizes.
        landmarks: Number of landmarks; 0 leaves the landmark head out, as in files of the autoencoder alone.
    """

    def __init__(self, layout: Layout, landmarks: int = 0) -> None:
        super().__init__()
        parts = layout.autoencoder()
        if landmarks:
            parts["transfer"] = layout.transfer(landmarks)
        for name, network in parts.items():
            self.add_module(PREFIXES[name], network)

    def networks(self) -> dict[str, nn.Module]:
        """The parts by the names that runs use."""
        return {name: getattr(self, prefix) for name, prefix in PREFIXES.items() if hasattr(self, prefix)}


def normalise_images(images: Tensor) -> Tensor:
    """Subtract the channel means: ``[..., 3, H, W]`` RGB in 0..1 to about -0.52..0.64."""
    return images - images.new_tensor(IMAGE_MEAN).view(3, 1, 1)


def to_images(images: Tensor) -> Tensor:
    """Invert :func:`normalise_images` and clip to 0..1."""
    return (images + images.new_tensor(IMAGE_MEAN).view(3, 1, 1)).clamp(0, 1)


@torch.no_grad()
def reconstruct(networks: dict[str, nn.Module], images: Tensor) -> Tensor:
    """Encode and decode mean-free images ``[B, 3, S, S]``, without gradients."""
    image = networks["decoder"](networks["encoder"](images)).image
    assert image is not None
    return image


def heatmaps_of(networks: dict[str, nn.Module], images: Tensor, frozen: bool = False) -> Tensor:
    """Heatmaps ``[B, K, h, h]`` of mean-free images ``[B, 3, S, S]``, without decoding the image.

    Args:
        networks: ``encoder``, ``decoder``, ``transfer``.
        images: The images.
        frozen: True keeps no gradients of the encoder and of the decoder's first stage.
    """
    encoder, decoder = cast(Encoder, networks["encoder"]), networks["decoder"]
    with torch.set_grad_enabled(torch.is_grad_enabled() and not frozen):
        maps = encoder.maps(images)
        x1 = decoder(encoder.code(images, maps[-1]), with_image=False).x1
    return networks["transfer"](x1, decoder, maps)


class WholeNetworks(nn.Module):
    """:func:`heatmaps_of` as a module; :class:`FoldedNetworks` does the same faster where there are no lateral layers.

    Args:
        networks: ``encoder``, ``decoder``, ``transfer``.
    """

    def __init__(self, networks: dict[str, nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleDict(networks)

    def forward(self, images: Tensor) -> Tensor:
        """Heatmaps ``[B, K, h, h]`` of mean-free images ``[B, 3, S, S]``."""
        return heatmaps_of(dict(self.networks.items()), images)


def interpolate_codes(first: Tensor, last: Tensor, steps: int) -> Tensor:
    """Codes on the straight line between two codes ``[..., code]``, both ends included: ``[steps, ..., code]``."""
    share = torch.linspace(0, 1, steps, device=first.device, dtype=first.dtype)
    return torch.stack([first + (last - first) * each for each in share])

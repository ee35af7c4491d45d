"""SmallNet, the light dense-descriptor network of Descriptor Vector Exchange, and the input normalisation."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lineament.errors import unknown_name
from lineament.faces.photometric import to_grey
from lineament.methods.dve.hourglass import Hourglass
from lineament.methods.dve.unet import UNet
from lineament.nn.channels_last import arranged

# Channel statistics of RGB faces in 0..1 that every published network was trained with.
IMAGE_MEAN = (0.5084, 0.4224, 0.3769)
IMAGE_STD = (0.2599, 0.2371, 0.2323)

# The published runs use the first two; old checkpoints of the code also hold group normalisation and scaled output. The
# last is not published.
BACKBONES = ("smallnet", "hourglass", "hourglass-gn", "hourglass-scaled", "hourglass-gn-scaled", "unet")

# Pixels of the input per step of the descriptor feature grid, for both published networks.
STRIDE = 2


def normalise_images(images: Tensor) -> Tensor:
    """Shift and scale RGB images to what the networks expect.

    Args:
        images: ``[..., 3, H, W]`` RGB in 0..1.

    Returns:
        Tensor of the same shape with roughly zero mean and unit standard deviation per channel.
    """
    mean = images.new_tensor(IMAGE_MEAN).view(3, 1, 1)
    std = images.new_tensor(IMAGE_STD).view(3, 1, 1)
    return (images - mean) / std


def conv_block(inputs: int, outputs: int, kernel: int, padding: int, dilation: int) -> nn.Sequential:
    """Convolution with bias, batch normalisation, leaky ReLU of slope 0.2."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, padding=padding, dilation=dilation),
        nn.BatchNorm2d(outputs),
        # The norm's gradient needs what came in, not what went out: that may be written over.
        nn.LeakyReLU(0.2, inplace=True),
    )


class SmallNet(nn.Module):
    """Six convolutions, one descriptor per 2x2 pixels (section 4 of the paper, "SmallNet").

    The names of the parameters are those of the published checkpoints.

    Args:
        channels: Dimensions C of a descriptor; the published ones are 3, 16, 32 and 64.
        max_pool: Halve the resolution after the first block; without it there is a descriptor per pixel.
    """

    def __init__(self, channels: int = 16, max_pool: bool = True) -> None:
        super().__init__()
        self.channels = channels
        self.stride = STRIDE if max_pool else 1
        self.conv1 = conv_block(3, 20, kernel=5, padding=2, dilation=1)
        self.mp = nn.MaxPool2d(2) if max_pool else nn.Identity()
        self.conv2 = conv_block(20, 48, kernel=5, padding=2, dilation=1)
        self.conv3 = conv_block(48, 64, kernel=5, padding=4, dilation=2)
        self.conv4 = conv_block(64, 80, kernel=3, padding=4, dilation=4)
        self.conv5 = conv_block(80, 256, kernel=3, padding=2, dilation=2)
        self.conv6 = nn.Conv2d(256, channels, kernel_size=1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.xavier_normal_(module.weight)
                assert module.bias is not None
                nn.init.zeros_(module.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Describe normalised images ``[B, 3, H, W]`` by ``[B, C, H // 2, W // 2]`` raw (not unit-length) vectors."""
        x = self.mp(self.conv1(arranged(images)))
        x = self.conv5(self.conv4(self.conv3(self.conv2(x))))
        return self.conv6(x).contiguous()


def grey_input(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Forward pre-hook: replace normalised RGB images by their luma, in all three channels."""
    images, *rest = inputs
    mean = images.new_tensor(IMAGE_MEAN).view(3, 1, 1)
    std = images.new_tensor(IMAGE_STD).view(3, 1, 1)
    luma = to_grey(images * std + mean)
    return ((luma - mean) / std, *rest)


def build_backbone(name: str, channels: int, *, luma: bool = False) -> nn.Module:
    """Build a network by name.

    Args:
        name: One of :data:`BACKBONES`.
        channels: Descriptor dimensions C.
        luma: Show the network only the luma of an image, so that grey and colour images look alike to it.

    Raises:
        UsageError: If the name is unknown.
    """
    network: nn.Module
    if name == "smallnet":
        network = SmallNet(channels)
    elif name == "unet":
        network = UNet(channels)
    elif name in BACKBONES:
        words = name.split("-")
        network = Hourglass(channels, group_norm="gn" in words, scaled_norm_output="scaled" in words)
    else:
        raise unknown_name("descriptor network", name, BACKBONES)
    if luma:
        network.register_forward_pre_hook(grey_input)
    return network


def describe(network: nn.Module, images: Tensor) -> Tensor:
    """Descriptors of images in 0..1.

    Args:
        network: A network of this module, or its distributed wrapper.
        images: ``[B, 3, H, W]`` RGB in 0..1.

    Returns:
        ``[B, C, H / 2, W / 2]`` raw descriptors; feature grid point (i, j) belongs to pixel x = 2 j, y = 2 i.
    """
    return network(normalise_images(images))


@torch.no_grad()
def describe_frozen(network: nn.Module, images: Tensor) -> Tensor:
    """Like :func:`describe` in eval mode without gradients; the network's mode is put back afterwards."""
    was_training = network.training
    network.eval()
    try:
        return describe(network, images)
    finally:
        network.train(was_training)

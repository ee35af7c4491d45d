"""The mapping network of StyleGAN2: latents to styles."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lineament.nn.stylegan2.layers import EqualizedLinear, normalize_2nd_moment


class MappingNetwork(nn.Module):
    """Latents z to intermediate latents w, one for each layer that takes a style.

    Args:
        z_dim: Length of z.
        w_dim: Length of w.
        num_ws: Copies of w.
        layers: Fully connected layers.
        lr_mul: Of them.
        w_avg_beta: How slowly the running mean of w follows.

    Attributes:
        w_avg: ``[w_dim]`` running mean of w, 0 at the start; followed in training mode at every call.
    """

    w_avg: Tensor

    def __init__(
        self,
        z_dim: int,
        w_dim: int,
        num_ws: int,
        *,
        layers: int = 8,
        lr_mul: float = 0.01,
        w_avg_beta: float = 0.995,
    ) -> None:
        super().__init__()
        self.num_ws, self.layers, self.w_avg_beta = num_ws, layers, w_avg_beta
        for number in range(layers):
            width = z_dim if number == 0 else w_dim
            layer = EqualizedLinear(width, w_dim, activation="lrelu", lr_mul=lr_mul)
            self.add_module(f"fc{number}", layer)
        self.register_buffer("w_avg", torch.zeros(w_dim))

    def forward(self, z: Tensor, truncation_psi: float = 1.0, truncation_cutoff: int | None = None) -> Tensor:
        """Map latents.

        Args:
            z: ``[B, z_dim]`` unit normal.
            truncation_psi: Share of the way from the mean w; 1 leaves w as it is.
            truncation_cutoff: Of the copies only the first so many are moved; None: all.

        Returns:
            ``[B, num_ws, w_dim]``.
        """
        # Small, and all of an image hangs on it: mixed precision leaves it as its weights are.
        with torch.autocast(z.device.type, enabled=False):
            w = normalize_2nd_moment(z.to(self.w_avg.dtype))
            for number in range(self.layers):
                w = self.get_submodule(f"fc{number}")(w)
        if self.training:
            with torch.no_grad():
                self.w_avg.copy_(w.detach().mean(dim=0).lerp(self.w_avg, self.w_avg_beta))
        ws = w[:, None].expand(-1, self.num_ws, -1)
        if truncation_psi == 1:
            return ws
        moved = self.w_avg.lerp(ws, truncation_psi)
        if truncation_cutoff is None:
            return moved
        return torch.cat([moved[:, :truncation_cutoff], ws[:, truncation_cutoff:]], dim=1)

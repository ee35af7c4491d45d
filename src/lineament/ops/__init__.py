"""Hot kernels, each with a plain reference twin (docs/kernels.md).

The renderer is a row of small stages: project ─► rasterize ─► barycentrics ─► interpolate ─► shade ─► edge_gradient.
"""

from lineament.ops.barycentrics import barycentrics
from lineament.ops.edge_gradient import edge_gradient
from lineament.ops.exchange import dense_correlation_loss, exchange_loss
from lineament.ops.interpolate import interpolate
from lineament.ops.mesh_warp import mesh_warp
from lineament.ops.mpi_composite import mpi_composite
from lineament.ops.rasterize import rasterize, rasterize_with_depth
from lineament.ops.sample_texture import sample_texture, screen_derivative

__all__ = [
    "barycentrics",
    "dense_correlation_loss",
    "edge_gradient",
    "exchange_loss",
    "interpolate",
    "mesh_warp",
    "mpi_composite",
    "rasterize",
    "rasterize_with_depth",
    "sample_texture",
    "screen_derivative",
]

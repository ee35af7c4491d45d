"""Hot kernels, each with a plain reference twin (docs/kernels.md).

The renderer is a row of small stages: project ─► rasterize ─► barycentrics ─► interpolate ─► shade ─► edge_gradient.
"""

from lineament.ops.barycentrics import barycentrics
from lineament.ops.interpolate import interpolate
from lineament.ops.rasterize import rasterize, rasterize_with_depth

__all__ = ["barycentrics", "interpolate", "rasterize", "rasterize_with_depth"]

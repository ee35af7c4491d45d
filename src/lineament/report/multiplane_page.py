"""One HTML file that shows a multiplane image in a browser: WebGL2, its textures within, no outside address.

A pixel's ray runs through the planes from the nearest to the last, as :func:`lineament.ops.mpi_composite` has it with
``outside="clamp"``; the textures have 8 bits. The page opens from disk.
"""

from __future__ import annotations

import base64
import html
import json
import re
from importlib import resources
from pathlib import Path

import torch
from torch import Tensor

from lineament.data.images import encode_image
from lineament.errors import DataError
from lineament.files import write_text
from lineament.geometry.multiplane import MultiplaneImage
from lineament.report.multiplane_files import CHANNELS, header

_TEMPLATE = "multiplane_page.html"
# What every browser with WebGL2 takes at the least: texels of a side, and layers of three planes.
SIDE, LAYERS = 2048, 256


def multiplane_page(image: MultiplaneImage, title: str, caption: str = "") -> str:
    """Text of the page of a multiplane image.

    Args:
        image: What is shown.
        title: Title of the page, plain text.
        caption: A sentence below the image, plain text.

    Raises:
        DataError: If there are more texels or planes than every browser takes.
    """
    count, *size = image.alpha.shape
    if max(size) > SIDE or count > CHANNELS * LAYERS:
        raise DataError(
            f"browsers take textures of {SIDE} px and {CHANNELS * LAYERS} planes, not {size[1]} x {size[0]} px and "
            f"{count} planes: make a smaller multiplane image."
        )
    # A PNG for each three planes: browsers take a long time, or refuse, to decode one of all planes.
    padded = torch.cat([image.alpha, image.alpha.new_zeros(-count % CHANNELS, *size)])
    value = header(image) | {
        "textures": {
            "colour": _encoded(image.colour),
            "background": _encoded(image.background),
            "alpha": [_encoded(cell) for cell in padded.split(CHANNELS)],
        }
    }
    # Facts with "</script>" in them would end the page's own.
    texts = {
        "TITLE": html.escape(title, quote=True),
        "CAPTION": html.escape(caption),
        "SCENE": json.dumps(value).replace("<", "\\u003c"),
    }
    page = resources.files("lineament.report").joinpath(_TEMPLATE).read_text(encoding="utf-8")
    return re.sub(f"@({'|'.join(texts)})@", lambda found: texts[found[1]], page)


def write_multiplane_page(path: Path, image: MultiplaneImage, title: str, caption: str = "") -> Path:
    """Write the page of a multiplane image; it is complete or absent. Arguments as of :func:`multiplane_page`."""
    write_text(path, multiplane_page(image, title, caption))
    return path


def _encoded(texture: Tensor) -> str:
    return base64.b64encode(encode_image(texture, "png", "a texture")).decode()

"""What can be chosen of a search for faces; importing it imports no torch."""

from __future__ import annotations

from typing import Literal

# The detector of everything that is not told another.
DEFAULT_DETECTOR = "yunet"
# Whether faces are also sought in other turns than that of the image.
Upright = Literal["search", "off"]

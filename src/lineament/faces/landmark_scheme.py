"""What a landmark scheme is: names, mirror, parts, lines and conversions of the K points of a face."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from lineament.errors import DataError, UsageError, unknown_name


def builtin_schemes() -> tuple[str, ...]:
    """Names of the schemes that come with the package."""
    return ("5", "19", "66", "68", "68-3d", "98", "400-dense")


@dataclass(frozen=True)
class Contour:
    """Points to join by a line, in order.

    Attributes:
        name: What the line is.
        indices: Landmark indices along it.
        closed: Whether the last joins the first.
    """

    name: str
    indices: tuple[int, ...]
    closed: bool = False


@dataclass(frozen=True)
class LandmarkScheme:
    """An ordered set of named face points.

    Attributes:
        name: Word by which the scheme is asked for.
        names: ``K`` names, all different.
        mirror: ``mirror[i]`` is the point that takes place ``i`` when the image is flipped left to right.
        parts: Groups of points by name (outline, brows, eyes ...), for per-part errors.
        contours: Lines for drawing.
        eyes: Points whose mean is the left and the right eye centre, or None.
        inter_ocular: The two points whose distance normalises errors: the outer eye corners where there are any.
        conversions: For a target scheme, the points to average for each of its points.
        description: One line for lists.
        aliases: Further names of points, by index: for points that many schemes have under names of their own.
        surface: Where each point lies on a head at rest, millimetres in the head frame; None where nobody says. Points
            that lie so on one surface make dense correspondence: what lies between them is known too.
        mirror_known: Whether ``mirror`` says how the points swap; where it does not, it leaves all where they are.
    """

    name: str
    names: tuple[str, ...]
    mirror: tuple[int, ...]
    parts: dict[str, tuple[int, ...]] = field(default_factory=dict)
    contours: tuple[Contour, ...] = ()
    eyes: tuple[tuple[int, ...], tuple[int, ...]] | None = None
    inter_ocular: tuple[int, int] | None = None
    conversions: dict[str, tuple[tuple[int, ...], ...]] = field(default_factory=dict)
    description: str = ""
    mirror_known: bool = True
    aliases: dict[str, int] = field(default_factory=dict)
    surface: tuple[tuple[float, float, float], ...] | None = None

    def __len__(self) -> int:
        return len(self.names)

    def index(self, name: str) -> int:
        """Return the index of the point of this name or alias; raises ``UsageError`` naming the nearest one."""
        if name in self.names:
            return self.names.index(name)
        if name not in self.aliases:
            raise unknown_name(f"point of scheme {self.name}", name, (*self.names, *self.aliases))
        return self.aliases[name]

    def indices(self, *names: str) -> list[int]:
        """Return the indices of several points, in the order asked for; raises as :meth:`index`."""
        return [self.index(name) for name in names]

    def contour(self, name: str) -> list[int]:
        """Return the indices along a contour; raises ``UsageError`` naming the nearest one."""
        lines = {line.name: line.indices for line in self.contours}
        if name not in lines:
            raise unknown_name(f"contour of scheme {self.name}", name, lines)
        return list(lines[name])

    def part(self, name: str) -> list[int]:
        """Return the indices of a part; raises ``UsageError`` naming the nearest one."""
        if name not in self.parts:
            raise unknown_name(f"part of scheme {self.name}", name, self.parts)
        return list(self.parts[name])

    def ocular_points(self) -> list[int]:
        """Return the left and the right of the ``inter_ocular`` points; raises ``UsageError`` if there are none."""
        if self.inter_ocular is None:
            raise UsageError(
                f"scheme {self.name} names no eye corners: add 'inter_ocular: [left, right]' to its file."
            )
        return list(self.inter_ocular)

    def require_mirror(self) -> None:
        """Raise ``UsageError`` where it is not known which points swap when an image is flipped."""
        if not self.mirror_known:
            raise UsageError(
                f"scheme {self.name} does not say which of its {len(self)} points swap in a mirrored image: give a "
                "scheme file with 'mirror' (an empty list where none do) by --scheme, or train with --mirror 0."
            )

    def check(self, points: Tensor) -> None:
        """Raise ``DataError`` unless ``points`` is ``[..., K, 2]`` (or more than two columns)."""
        if points.ndim < 2 or points.shape[-2] != len(self) or points.shape[-1] < 2:
            raise DataError(
                f"scheme {self.name} has {len(self)} points, but the landmarks have shape {tuple(points.shape)}."
            )

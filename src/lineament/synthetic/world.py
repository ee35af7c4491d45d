"""What decides the images of a folder of synthetic faces; importing it imports no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from lineament.errors import UsageError, unknown_name

if TYPE_CHECKING:
    from lineament.synthetic.scene import SceneOptions
    from lineament.synthetic.source import SyntheticFaces

TRUTHS = ("depth", "normals", "mask", "uv")
# Settings that older folders lack, and what these folders hold.
ADDED: dict[str, Any] = {"world": "plain", "sensor": 1.0}


@dataclass(frozen=True)
class World:
    """What decides the images of a folder; stored in ``settings.json`` and compared before going on.

    Attributes:
        seed: Number of the world; two seeds share no person.
        size: Side of the square images in pixels.
        head: Head model: builtin (made by this package) or ict (the ICT-FaceKit head of the data packs or of a clone).
        identities: Number of distinct people; another person in every image when not given.
        world: plain (faces and nothing else), photo (what photos have: accessories, profiles, hard light,
            blur, other faces), or portrait (cut by the crop ffhq, with cameras as GMPI has them; docs/synthetic.md).
        max_yaw: Largest turn of the head to either side, degrees; 40 (photo: 90, portrait: 33.1) when not given.
        max_pitch: Largest nod up or down, degrees; 20 (photo: 40, portrait: 14.6) when not given.
        max_roll: Largest tilt, degrees; 15 (photo: 30, portrait: 0) when not given.
        grey: Probability of a black-and-white image.
        sensor: Strength of blur, noise, compression and other flaws, 0 (clean, for training that adds its own) .. 1.
        truth: Maps to write beside each image: depth, normals, mask, uv.
    """

    seed: int = 0
    size: int = 128
    head: str = "builtin"
    identities: int | None = None
    world: str = "plain"
    max_yaw: float | None = None
    max_pitch: float | None = None
    max_roll: float | None = None
    grey: float = 0.2
    sensor: float = 1.0
    truth: tuple[str, ...] = ()

    def check(self) -> None:
        """Raise ``UsageError`` on an unknown kind of truth or a number out of range."""
        for name in self.truth:
            if name not in TRUTHS:
                raise unknown_name("kind of truth", name, TRUTHS)
        from lineament.synthetic.scene import WORLDS  # imports torch

        if self.world not in WORLDS:
            raise unknown_name("world", self.world, WORLDS)
        if not (0 <= self.grey <= 1 and 0 <= self.sensor <= 1) or not all(
            0 <= angle <= 90 for angle in self.angles()
        ):
            raise UsageError(
                "--grey and --sensor must be in 0..1 and --max-yaw, --max-pitch, --max-roll in 0..90 degrees."
            )
        if self.size > 4096:
            raise UsageError(f"--size must be at most 4096, not {self.size}.")

    def angles(self) -> tuple[float, float, float]:
        """Largest yaw, pitch and roll, degrees: as given, else those of the named world."""
        from lineament.synthetic.scene import WORLDS

        usual = WORLDS[self.world]
        given = (self.max_yaw, self.max_pitch, self.max_roll)
        defaults = (usual.max_yaw, usual.max_pitch, usual.max_roll)
        yaw, pitch, roll = (
            round(math.degrees(default), 9) if asked is None else asked
            for asked, default in zip(given, defaults, strict=True)
        )
        return yaw, pitch, roll

    @staticmethod
    def of(settings: Mapping[str, Any]) -> World:
        """The world whose :meth:`settings` these are."""
        told = {name: value for name, value in {**ADDED, **settings}.items() if name != "version"}
        return World(**{**told, "truth": tuple(told.get("truth", ()))})

    def settings(self) -> dict[str, Any]:
        """What ``settings.json`` holds; as before there was another world and a sensor where both are the usual."""
        from lineament.synthetic.source import WORLD_VERSION

        yaw, pitch, roll = self.angles()
        told = {**asdict(self), "max_yaw": yaw, "max_pitch": pitch, "max_roll": roll}
        for name, usual in ADDED.items():
            if told[name] == usual:
                del told[name]
        return {**told, "truth": list(self.truth), "version": WORLD_VERSION}

    def options(self) -> SceneOptions:
        """Ranges of what is drawn at random."""
        from lineament.synthetic.scene import WORLDS

        yaw, pitch, roll = (math.radians(angle) for angle in self.angles())
        return replace(
            WORLDS[self.world],
            max_yaw=yaw,
            max_pitch=pitch,
            max_roll=roll,
            grey=self.grey,
            sensor=self.sensor,
        )

    def source(self, count: int, packs: str | None = None) -> SyntheticFaces:
        """The images of this world as a source."""
        from lineament.synthetic.source import SyntheticFaces

        return SyntheticFaces(
            seed=self.seed,
            count=count,
            size=self.size,
            head=self.head,
            packs=packs,
            identities=self.identities,
            options=self.options(),
        )

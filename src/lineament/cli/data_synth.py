"""`lineament data synth`: draws synthetic faces with exact ground truth into a folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lineament.cli.parse import parse


@dataclass
class Command:
    """Draw synthetic faces with exact landmarks, pose, camera and, on request, depth, normals, mask and uv.

    Picture i of a seed is always the same picture. An interrupted command is simply repeated; a larger --count adds to
    the folder. Examples: `lineament data synth --count 1000 --out faces/`,
    `lineament data synth --count 5000 --size 256 --head ict --packs ../packs --out faces/`.
    """

    # Folder for the pictures (PNG), settings.json and index.parquet.
    out: Path
    # Number of pictures.
    count: int = 1000
    # Side of the square pictures in pixels.
    size: int = 128
    # Head model: builtin (made by this package) or ict (the ICT-FaceKit head of the data packs or of a clone).
    head: str = "builtin"
    # Number of the world; two seeds share no person.
    seed: int = 0
    # Number of distinct people; another person in every picture when not given.
    identities: int | None = None
    # Where the ICT head lies: a folder of packs, the pack itself, or a clone of ICT-FaceKit.
    packs: Path | None = None
    # Largest turn of the head to either side, degrees.
    max_yaw: float = 40.0
    # Largest nod up or down, degrees.
    max_pitch: float = 20.0
    # Largest tilt, degrees.
    max_roll: float = 15.0
    # Probability of a black-and-white picture.
    grey: float = 0.2
    # Maps to write beside each picture, separated by commas: depth,normals,mask,uv.
    truth: str = ""
    # Also write a contact sheet of the first 64 pictures (contact_sheet.jpg).
    sheet: bool = False
    # Processes that draw at once.
    workers: int = 2
    # Replace a folder that holds another world.
    overwrite: bool = False


def main(arguments: list[str]) -> int:
    """Run the verb."""
    command = parse(Command, "data synth", arguments)
    from lineament.errors import UsageError
    from lineament.pipeline.progress import progress
    from lineament.synthetic.dataset import World, write_faces

    if not 0 <= command.grey <= 1 or not all(
        0 <= angle <= 90 for angle in (command.max_yaw, command.max_pitch, command.max_roll)
    ):
        raise UsageError("--grey must be in 0..1 and --max-yaw, --max-pitch, --max-roll in 0..90 degrees.")
    if command.size > 4096:
        raise UsageError(f"--size must be at most 4096, not {command.size}.")
    world = World(
        seed=command.seed,
        size=command.size,
        head=command.head,
        identities=command.identities,
        max_yaw=command.max_yaw,
        max_pitch=command.max_pitch,
        max_roll=command.max_roll,
        grey=command.grey,
        truth=tuple(name.strip() for name in command.truth.split(",") if name.strip()),
    )
    with progress("drawing", max(command.count, 1), "faces") as advance:

        def finished(number: int) -> None:
            for _ in range(number):
                advance()

        drawn = write_faces(
            command.out, world, command.count, command.packs, command.workers, command.overwrite, finished
        )
    print(f"{command.out / 'index.parquet'}: {command.count} faces ({drawn} drawn now).")
    if command.sheet:
        from lineament.report.contact_sheet import contact_sheet, write_sheet
        from lineament.synthetic.folder import SyntheticFolder

        faces = SyntheticFolder(command.out)
        sheet = contact_sheet([faces[index].image for index in range(min(64, len(faces)))])
        path = write_sheet(sheet, command.out / "contact_sheet.jpg", overwrite=True)
        print(f"{path}: contact sheet.")
    return 0

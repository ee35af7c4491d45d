"""`lineament data synth`: draws synthetic faces with exact ground truth into a folder."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from lineament.cli.parse import parse
from lineament.progress import progress
from lineament.synthetic.world import World


@dataclass
class Command:
    """Draw synthetic faces with exact landmarks, pose, camera and, on request, depth, normals, mask and uv.

    Image i of a seed is always the same image. An interrupted command is simply repeated; a larger --count adds to
    the folder. Examples: `lineament data synth --count 1000 --out faces/`,
    `lineament data synth --count 5000 --size 256 --head ict --packs ../packs --out faces/`.
    """

    # Folder for the images (PNG), settings.json and index.parquet.
    out: Path
    # Number of images.
    count: int = 1000
    # Where the ICT head lies: a folder of packs, the pack itself, or a clone of ICT-FaceKit.
    packs: Path | None = None
    # What is drawn; the maps of --truth may also be separated by commas.
    world: World = field(default_factory=World)
    # Also write images/dataset.json, the camera of each image as the training of GMPI reads it (--world portrait).
    poses: bool = False
    # Also write a contact sheet of the first 64 images (contact_sheet.jpg).
    sheet: bool = False
    # Processes that draw at once.
    workers: int = 2
    # Replace a folder that holds another world.
    overwrite: bool = False


def main(arguments: list[str]) -> int:
    """Run the verb."""
    command = parse(Command, "data synth", arguments)
    from lineament.synthetic.dataset import write_faces

    names = tuple(name.strip() for word in command.world.truth for name in word.split(",") if name.strip())
    world = replace(command.world, truth=names)
    world.check()
    if command.poses:
        from lineament.pipeline.prepare.synthetic_poses import check_poses, write_synthetic_poses

        check_poses(world)
    with progress("drawing", max(command.count, 1), "faces") as advance:

        def finished(number: int) -> None:
            for _ in range(number):
                advance()

        drawn = write_faces(
            command.out, world, command.count, command.packs, command.workers, command.overwrite, finished
        )
    print(f"{command.out / 'index.parquet'}: {command.count} faces ({drawn} drawn now).")
    if command.poses:
        print(f"{write_synthetic_poses(command.out)}: their cameras.")
    if command.sheet:
        from lineament.report.contact_sheet import contact_sheet, write_sheet
        from lineament.synthetic.folder import SyntheticFolder

        faces = SyntheticFolder(command.out)
        sheet = contact_sheet([faces[index].image for index in range(min(64, len(faces)))])
        path = write_sheet(sheet, command.out / "contact_sheet.jpg", overwrite=True)
        print(f"{path}: contact sheet.")
    return 0

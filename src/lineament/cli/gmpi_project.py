"""`lineament gmpi project`: projects the face of a photo into a run of multiplane images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from lineament.cli.parse import parse
from lineament.errors import UsageError
from lineament.pipeline.gmpi.options import check_words
from lineament.progress import progress


@dataclass
class Command:
    """Project the face of a photo into a run of multiplane images (GMPI), so that it can be turned.

    The face is found, cut out as the run's data were, its pose estimated by a fitted head; then latent, weights and
    pose are fitted to it. Writes NAME.projected.png (photo, what is shown, depth), NAME.pasted.png (put back into the
    photo), NAME.project.json, and a video, a page and the multiplane image. An interrupted projection goes on when the
    command is repeated. Example: `lineament gmpi project photo.jpg runs/gmpi --out projected/`.
    """

    # The photo; its largest face is taken.
    photo: Positional[Path]
    # Run directory of gmpi-folder, model folder, or name of a model.
    run: Positional[Path]
    # Folder for the results.
    out: Path
    # Steps with one style for all layers.
    w_steps: int = 200
    # Steps with a style for each layer (W+).
    w_plus_steps: int = 200
    # Steps with the weights of the networks (pivotal tuning).
    tuning_steps: int = 200
    # Weight of the error of features beside that of pixels.
    feature_weight: float = 0.1
    # Weight of how far styles are from the mean.
    style_weight: float = 0.001
    # Results besides the images: video, mesh, page, mpi.
    outputs: tuple[str, ...] = ("video", "page", "mpi")
    # Run, model folder or name of the landmark model, whose features are compared, too.
    landmarks: str = "face-68"
    # Begin again, and replace results that are there.
    overwrite: bool = False


def main(arguments: list[str]) -> int:
    """Run the verb."""
    command = parse(Command, "gmpi project", arguments)
    from lineament.methods.gmpi.projection import ProjectSettings
    from lineament.pipeline.gmpi.project import OUTPUTS, ProjectRequest, project_photo

    check_words("result", command.outputs, OUTPUTS)
    if command.out.exists() and not command.out.is_dir():
        raise UsageError(f"--out {command.out} is a file: give a folder.")
    settings = ProjectSettings(
        command.w_steps,
        command.w_plus_steps,
        command.tuning_steps,
        command.feature_weight,
        command.style_weight,
    )
    request = ProjectRequest(command.photo, command.run, settings, command.outputs, command.landmarks)
    facts, done = project_photo(request, command.out, overwrite=command.overwrite, progress=progress)
    print(f"{'done before' if done else 'wrote'}: {', '.join(facts['files'])} in {command.out}")
    print(
        f"{facts['psnr']:.1f} dB at yaw {facts['pose']['yaw']:.1f} and pitch {facts['pose']['pitch']:.1f} degrees; "
        f"depth and the fitted head's correlate by {facts['depth_r']:.2f}"
    )
    return 0

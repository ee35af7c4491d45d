"""`lineament analyze`: everything that is known of the faces of photos and videos."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from tyro.conf import Positional

from lineament.cli.parse import parse
from lineament.pipeline.analyze.options import AnalyzeOptions
from lineament.pipeline.video.options import FollowOptions


@dataclass
class Command:
    """Analyse the faces of a photo, a folder or a video: everything as numbers and files, and one page to look at.

    Of every face: box, landmarks with confidence, head pose, expression by name, depth, a coloured mesh (.obj), two
    turned views, and aligned crops on request; between the photos of a folder the best matches. All in a folder beside
    the input: analysis.json, analysis.html, and the files of each photo. What is done is skipped. Examples:
    `lineament analyze photo.jpg`, `lineament analyze holiday/ --crops ffhq`, `lineament analyze clip.mp4`.
    """

    # Photos, videos, and folders of both.
    inputs: Positional[tuple[Path, ...]]
    # Run directory, model folder or name of a landmark model (`lineament models`); face-68 when not given.
    model: Path | None = None
    # Folder for the results.
    out: Path | None = None
    # Take animated GIFs, PNGs and WebPs for videos; without it their first frame is a photo.
    video: bool = False
    # Where the models run: cpu or cuda.
    device: str = "cpu"
    # What is looked for and written.
    looking: AnalyzeOptions = field(default_factory=AnalyzeOptions)
    # How faces are followed through videos.
    following: FollowOptions = field(default_factory=FollowOptions)


def main(arguments: list[str]) -> int:
    """Run the verb."""
    command = parse(Command, "analyze", arguments)
    from lineament.pipeline.analyze.analyzer import Analyzer
    from lineament.pipeline.analyze.run import plan_analysis, run_analysis
    from lineament.progress import progress, silent

    # Wrong words and numbers are said before anything is read.
    command.looking.check()
    files = plan_analysis(command.inputs, command.out, command.video)
    analyzer = Analyzer.open(command.looking, command.model, command.device)
    single = len(files) == 1 and not command.inputs[0].is_dir()
    shown = progress if not single or files[0].is_video else silent
    title = ", ".join(each.resolve().name for each in command.inputs[:3]) + (
        " …" if len(command.inputs) > 3 else ""
    )
    result = run_analysis(analyzer, files, command.following, title, single, shown)
    codes = [0]
    if not single:
        codes += [
            tally.tell(unit)
            for tally, unit in ((result.photos, "photos"), (result.videos, "videos"))
            if tally.done or tally.failed or tally.without_face
        ]
    elif result.photos.skipped or result.videos.skipped:
        print(f"done before: {files[0].json}")
    for what, why in result.left_out.items():
        print(f"left out: {what}: {why}")
    counted = [f"{result.faces} face(s)"] if any(not file.is_video for file in files) else []
    counted += [f"{result.people} people in videos"] if any(file.is_video for file in files) else []
    counted += [f"{result.rejected} detections taken for no face"] if result.rejected else []
    print(f"{', '.join(counted)}; wrote {' and '.join(str(path) for path in result.written)}")
    return max(codes)

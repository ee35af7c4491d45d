"""An analysis from the files that are given to `analysis.json` and the page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lineament.errors import DataError, UsageError
from lineament.faces.labels.own_json import FORMAT, scheme_item
from lineament.files import write_text
from lineament.pipeline.analyze.analyzer import Analyzer
from lineament.pipeline.analyze.matches import MatchedFace, write_matches
from lineament.pipeline.analyze.page import PageItem, write_page
from lineament.pipeline.analyze.photos import ANALYSIS, analyze_photos
from lineament.pipeline.analyze.video import analyze_video, video_settings
from lineament.pipeline.predict.photos import Photo, plan
from lineament.pipeline.predict.results import Tally, go_through, refuse_other_settings, table_meta
from lineament.pipeline.video.options import FollowOptions
from lineament.progress import Progress, silent

TABLE, PAGE = "analysis.json", "analysis.html"


@dataclass
class Analysis:
    """What came of an analysis.

    Attributes:
        folder: Folder of the results.
        photos: What became of the photos.
        videos: What became of the videos.
        faces: Faces of the photos, those of earlier runs included.
        people: People of the videos.
        rejected: Detections in photos and videos that were taken for no face.
        matches: Pairs of photos, as they stand in the table.
        left_out: What is not done at all -> why.
        written: The table and the page.
    """

    folder: Path
    photos: Tally = field(default_factory=Tally)
    videos: Tally = field(default_factory=Tally)
    faces: int = 0
    people: int = 0
    rejected: int = 0
    matches: list[dict[str, Any]] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    written: list[Path] = field(default_factory=list)


def plan_analysis(inputs: Sequence[Path], out: Path | None, animations: bool = False) -> list[Photo]:
    """List the photos and videos, all with one folder for the results.

    Results of one file lie in a folder beside it, ``photo.jpg-analysis``, those of a folder in ``FOLDER-analysis``.

    Raises:
        DataError: If an input does not exist, or a folder holds no image.
        UsageError: If several inputs are given without a folder for the results, or it is a file.
    """
    if not inputs:
        raise UsageError("give a photo, a video or a folder: lineament analyze PHOTO|FOLDER|VIDEO")
    if out is None and len(inputs) > 1:
        raise UsageError(
            f"{len(inputs)} inputs make one page: name the folder for it and all results with --out."
        )
    if out is None and not inputs[0].is_dir():
        out = inputs[0].with_name(f"{inputs[0].name}{ANALYSIS.replace('.', '-')}")
    return plan(inputs, out, ANALYSIS, videos=True, animations=animations)


def run_analysis(
    analyzer: Analyzer,
    files: Sequence[Photo],
    follow: FollowOptions,
    title: str,
    single: bool = False,
    progress: Progress = silent,
) -> Analysis:
    """Analyse photos and videos, find the best matches between photos, and write the table and the page.

    Args:
        analyzer: What looks at faces.
        files: From :func:`plan_analysis`.
        follow: How faces of videos are followed.
        title: Heading of the page.
        single: Whether the user named this one file: then what is wrong with it is raised.
        progress: Shows how far it is.

    Raises:
        UsageError: If something was done with other settings, and is not to be overwritten; nothing is written.
        DataError: If a single file cannot be used, or has no face.
    """
    photos = [file for file in files if not file.is_video]
    videos = [file for file in files if file.is_video]
    if not analyzer.options.overwrite:
        refuse_other_settings(photos, analyzer.settings())
        refuse_other_settings(videos, video_settings(analyzer, follow))
    result = Analysis(files[0].folder, left_out=dict(analyzer.left_out))
    if photos:
        with progress("analyze", len(photos), "photos") as advance:
            result.photos = analyze_photos(analyzer, photos, single, advance)

    def work(video: Photo) -> bool:
        if video.json.exists() and not analyzer.options.overwrite:
            return True
        analyze_video(analyzer, video, follow, progress)
        return False

    result.videos = go_through(videos, work, single)
    items = [
        PageItem(file, _content(file))
        for file in files
        if file.json.exists() and str(file.path) not in _bad(result)
    ]
    of_photos = [item for item in items if not item.photo.is_video]
    result.faces = sum(len(item.content["faces"]) for item in of_photos)
    result.people = sum(len(item.content.get("people", [])) for item in items)
    result.rejected = sum(_rejected(item.content["meta"].get("rejected")) for item in items)
    if analyzer.dense is not None:
        result.matches = _matches(analyzer, of_photos, result, progress)
    table = result.folder / TABLE
    write_text(table, json.dumps(_table(analyzer, files, items, result), indent=1, ensure_ascii=False) + "\n")
    page = write_page(
        result.folder / PAGE, title, analyzer.model.scheme, items, result.matches, _notes(result)
    )
    result.written = [table, page]
    return result


def _bad(result: Analysis) -> set[str]:
    return {*result.photos.failed, *result.videos.failed}


def _rejected(noted: Any) -> int:
    """How many detections a file says were taken for no face: a photo lists them, a video counts them."""
    return len(noted) if isinstance(noted, list) else int(noted or 0)


def _content(file: Photo) -> dict[str, Any]:
    """What an earlier run, or this one, wrote of a file.

    Raises:
        DataError: If it was damaged since.
    """
    try:
        content = json.loads(file.json.read_text(encoding="utf-8"))
        if isinstance(content["faces"], list) and isinstance(content["meta"], dict):
            return dict(content)
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise DataError(f"{file.json} is damaged: remove it, or do the analysis again with --overwrite.")


def _matches(
    analyzer: Analyzer, items: Sequence[PageItem], result: Analysis, progress: Progress
) -> list[dict[str, Any]]:
    assert analyzer.dense is not None
    names = analyzer.model.scheme.names
    faces = [
        MatchedFace.of(item.photo, item.content["faces"][0], names) for item in items if item.content["faces"]
    ]
    if len(faces) < 2:
        result.left_out["matches"] = "there are no two photos with faces."
        return []
    settings = {**analyzer.settings(), **analyzer.match_settings()}
    before = _earlier_matches(result, settings, [face.photo.name for face in faces])
    if before is not None:
        return before
    with progress("match", len(faces), "photos") as advance:
        return write_matches(analyzer.dense, faces, result.folder, settings, advance)


def _earlier_matches(
    result: Analysis, settings: Mapping[str, Any], names: list[str]
) -> list[dict[str, Any]] | None:
    """The matches of an earlier run of the same photos, of which none was done again; None where there is none."""
    if result.photos.skipped != result.photos.done:
        return None
    try:
        table = json.loads((result.folder / TABLE).read_text(encoding="utf-8"))
        same = table["matched"] == {"settings": json.loads(json.dumps(settings)), "photos": names}
        matches = table["matches"]
        whole = all((result.folder / match["image"]).is_file() for match in matches)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return list(matches) if same and whole else None


def _table(
    analyzer: Analyzer, files: Sequence[Photo], items: Sequence[PageItem], result: Analysis
) -> dict[str, Any]:
    """What ``analysis.json`` holds: a label file of the faces of all photos, and what is known beside them."""
    of_photos = [item for item in items if not item.photo.is_video]
    meta = table_meta(files, result.folder, "analyze", analyzer.settings())
    meta["images"] = {
        item.photo.name: {key: item.content["meta"].get(key) for key in ("width", "height")}
        for item in of_photos
    }
    meta["without_face"] = [item.photo.name for item in of_photos if not item.content["faces"]]
    failed = {**result.photos.failed, **result.videos.failed, **result.videos.without_face}
    meta["unreadable"] = {file.name: failed[str(file.path)] for file in files if str(file.path) in failed}
    meta["left_out"] = result.left_out
    table: dict[str, Any] = {
        "format": FORMAT,
        "scheme": scheme_item(analyzer.model.scheme),
        "meta": meta,
        "faces": [face for item in of_photos for face in item.content["faces"]],
    }
    videos = [item for item in items if item.photo.is_video]
    if videos:
        table["videos"] = [
            {
                "video": item.photo.name,
                "file": item.photo.json.relative_to(result.folder).as_posix(),
                "frames": item.content["meta"].get("frames"),
                "people": item.content.get("people", []),
            }
            for item in videos
        ]
    if analyzer.dense is not None:
        names = [item.photo.name for item in of_photos if item.content["faces"]]
        settings = {**analyzer.settings(), **analyzer.match_settings()}
        table["matched"] = {"settings": settings, "photos": names}
        table["matches"] = result.matches
    return table


def _notes(result: Analysis) -> list[str]:
    """Sentences for the page about what it does not show."""
    notes = [f"{what}: {why}" for what, why in result.left_out.items()]
    if result.rejected:
        notes.append(f"{result.rejected} detections were taken for no face; --all-faces keeps them")
    # Photos without a face have a card that says so.
    notes += result.videos.without_face.values()
    notes += [f"not read: {why}" for why in [*result.photos.failed.values(), *result.videos.failed.values()]]
    return notes

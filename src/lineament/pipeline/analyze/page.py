"""The page of an analysis: one HTML file with everything inside, a gallery whose faces tell their numbers.

It loads nothing: images are in it as data, its one script is named in its policy by the sha256 of its text. All words
that come from files go through :func:`html.escape`.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from torch import Tensor

from lineament.data.images import read_image
from lineament.eight_bit import to_array
from lineament.errors import DataError
from lineament.faces.resample import crop_image
from lineament.faces.schemes import LandmarkScheme
from lineament.files import replacing
from lineament.geometry.affine2d import Affine2D
from lineament.pipeline.analyze.markup import chart, face_details, jpeg_uri, photo_svg
from lineament.pipeline.predict.photos import Photo

# Longer side in pixels of the photos in a page of up to so many, and of the small images beside them.
SIDES = ((24, 960, 520), (150, 480, 320), (10**9, 280, 200))


@dataclass(frozen=True)
class PageItem:
    """A photo or video of the page.

    Attributes:
        photo: The file and where its results are.
        content: Its JSON file.
    """

    photo: Photo
    content: dict[str, Any]


def write_page(
    path: Path,
    title: str,
    layout: LandmarkScheme,
    items: Sequence[PageItem],
    matches: Sequence[Mapping[str, Any]] = (),
    notes: Sequence[str] = (),
) -> Path:
    """Write the page, a card at a time.

    Args:
        path: Of the page; files of the items and matches lie in its folder or below.
        title: Its heading.
        layout: What the landmarks mean.
        items: Photos and videos in the order of the page.
        matches: From :func:`lineament.pipeline.analyze.matches.write_matches`.
        notes: Sentences about what is not shown.

    Returns:
        The path.
    """
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.writelines(_parts(path.parent, title, layout, items, matches, notes))
    return path


def _parts(
    folder: Path,
    title: str,
    layout: LandmarkScheme,
    items: Sequence[PageItem],
    matches: Sequence[Mapping[str, Any]],
    notes: Sequence[str],
) -> Iterator[str]:
    style, script = (
        resources.files("lineament.pipeline.analyze").joinpath(name).read_text(encoding="utf-8")
        for name in ("page.css", "page.js")
    )
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; "
        "base-uri 'none'; form-action 'none'"
    )
    # Within a script element only this sequence could end it.
    names = json.dumps(list(layout.names), ensure_ascii=True).replace("<", "\\u003c")
    yield (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{html.escape(policy, quote=True)}">\n'
        f'<link rel="icon" href="data:,">\n<title>{html.escape(title)}</title>\n<style>\n{style}</style>\n'
        f'</head>\n<body>\n<header>\n<h1>{html.escape(title)}</h1>\n<p class="lead">{html.escape(_lead(items))}</p>\n'
        f"{_TOGGLES}</header>\n<main>\n"
    )
    _, side, small = next(each for each in SIDES if len(items) <= each[0])
    yield '<section class="gallery" aria-label="Photos and videos">\n'
    for item in items:
        draw = _video_card if item.photo.is_video else _photo_card
        yield draw(folder, item, layout, side, small)
    yield "</section>\n"
    if matches:
        yield '<section>\n<h2>Best matches</h2>\n<div class="matches">\n'
        for match in matches:
            yield _match_figure(folder, match)
        yield "</div>\n</section>\n"
    if notes:
        said = "".join(f"<li>{html.escape(note)}</li>" for note in notes)
        yield f'<section class="notes">\n<h2>Not shown</h2>\n<ul>{said}</ul>\n</section>\n'
    yield (
        '</main>\n<div id="tip" role="status" hidden></div>\n'
        f'<script type="application/json" id="names">{names}</script>\n'
        f"<script>{script}</script>\n</body>\n</html>\n"
    )


_TOGGLES = (
    '<fieldset class="toggles"><legend>Show</legend>'
    + "".join(
        f'<label><input type="checkbox" checked data-toggle="{name}"> {words}</label>'
        for name, words in (
            ("box", "boxes"),
            ("line", "contours"),
            ("point", "points"),
            ("axis", "pose axes"),
        )
    )
    + "</fieldset>\n"
)


def _lead(items: Sequence[PageItem]) -> str:
    photos = [item for item in items if not item.photo.is_video]
    videos = len(items) - len(photos)
    faces = sum(len(item.content["faces"]) for item in photos)
    people = sum(len(item.content.get("people", [])) for item in items)
    parts = [f"{_count(faces, 'face')} in {_count(len(photos), 'photo')}"] if photos else []
    parts += [f"{_count(people, 'person', 'people')} in {_count(videos, 'video')}"] if videos else []
    return f"{', '.join(parts) or 'Nothing was found'}. Point at a face or at a landmark to read its numbers."


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"


def _photo_card(folder: Path, item: PageItem, layout: LandmarkScheme, side: int, small: int) -> str:
    faces = item.content["faces"]
    try:
        image = read_image(item.photo.path)
    except DataError as error:
        return _card(item.photo.name, f'<p class="lacking">{html.escape(str(error))}</p>')
    drawn = photo_svg(jpeg_uri(shrunk(image, side)), image.shape[2], image.shape[1], faces, layout)
    if not faces:
        return _card(item.photo.name, drawn + '<p class="lacking">No face was found.</p>', "card empty")
    details = "".join(
        face_details(f"Face {number}", face, _images(item, face, small), _links(folder, item, face))
        for number, face in enumerate(faces, start=1)
    )
    return _card(item.photo.name, drawn + details)


def _video_card(folder: Path, item: PageItem, layout: LandmarkScheme, side: int, small: int) -> str:
    meta, people = item.content["meta"], item.content.get("people", [])
    overlay = item.photo.stem.with_name(f"{item.photo.stem.name}.mp4")
    words = f"{_count(int(meta.get('frames') or 0), 'frame')}, {_count(len(people), 'person', 'people')}"
    blocks = [f"<p>{html.escape(words)}: {_link(folder, overlay, 'video with landmarks')}</p>"]
    for person in people:
        number = person["person"] + 1
        try:
            image = read_image(_beside(item, person["files"]["still"]))
        except (DataError, KeyError) as error:
            blocks.append(f'<p class="lacking">Person {number}: {html.escape(str(error))}</p>')
            continue
        blocks.append(
            photo_svg(jpeg_uri(shrunk(image, side)), image.shape[2], image.shape[1], [person], layout)
        )
        blocks.append(
            face_details(
                f"Person {number}, in {_count(person['frames'], 'frame')}, best at {person['time']:.2f} s",
                person,
                _images(item, person, small),
                _links(folder, item, person),
            )
        )
        blocks.append(chart([row for row in item.content["faces"] if row.get("person") == person["person"]]))
    return _card(item.photo.name, "".join(blocks))


def _card(name: str, body: str, kind: str = "card") -> str:
    return f'<article class="{kind}">\n<h2>{html.escape(name)}</h2>\n{body}</article>\n'


def _images(item: PageItem, face: Mapping[str, Any], side: int) -> list[tuple[str, str]]:
    """Small images of a face: what each shows, and its data."""
    files = face.get("files", {})
    drawn = [name for name in files if name not in ("mesh", "depth_map", "still", "turned", "depth")]
    shown: list[tuple[str, str]] = []
    for kind in ("turned", "depth", *drawn):
        if kind not in files:
            continue
        try:
            image = read_image(_beside(item, files[kind]))
        except DataError:
            # Somebody moved it; the link that is left says so when it is followed.
            continue
        words = {"turned": "turned to both sides", "depth": "depth, near bright"}.get(kind, f"{kind} crop")
        shown.append((words, jpeg_uri(shrunk(image, side if kind == "turned" else side // 2))))
    return shown


def _links(folder: Path, item: PageItem, face: Mapping[str, Any]) -> str:
    words = {
        "mesh": "mesh (obj)",
        "depth_map": "depth (npz)",
        "turned": "turned views",
        "depth": "depth image",
    }
    files = [(words.get(kind, kind), name) for kind, name in face.get("files", {}).items()]
    files.append(("numbers (json)", item.photo.json.name))
    return " ".join(_link(folder, _beside(item, name), said) for said, name in files)


def _link(folder: Path, path: Path, words: str) -> str:
    # A name that begins like "javascript:" is a path all the same.
    reference = "./" + quote(path.relative_to(folder).as_posix())
    return f'<a href="{html.escape(reference, quote=True)}">{html.escape(words)}</a>'


def _beside(item: PageItem, name: str) -> Path:
    return item.photo.stem.with_name(Path(name).name)


def _match_figure(folder: Path, match: Mapping[str, Any]) -> str:
    said = (
        f"{match['a']} and {match['b']}: mean similarity {match['similarity']:.2f}, round trip "
        f"{100 * match['round_trip']:.1f} % of the face box"
    )
    try:
        data = jpeg_uri(shrunk(read_image(folder / Path(match["image"]).name), 640))
    except DataError as error:
        return f'<p class="lacking">{html.escape(str(error))}</p>'
    alt = html.escape(said, quote=True)
    return f'<figure><img src="{data}" alt="{alt}"><figcaption>{html.escape(said)}</figcaption></figure>\n'


def shrunk(image: Tensor, side: int) -> np.ndarray:
    """An image ``[3, H, W]`` no larger than ``side`` pixels, as ``[h, w, 3]`` uint8."""
    height, width = image.shape[1:]
    scale = side / max(height, width)
    if scale >= 1.0:
        return to_array(image)
    rows, columns = max(1, round(height * scale)), max(1, round(width * scale))
    return to_array(
        crop_image(image, Affine2D.resize((width, height), (columns, rows)), (rows, columns), "edge")
    )

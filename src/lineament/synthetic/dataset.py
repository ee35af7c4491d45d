"""Writes synthetic faces to a folder: images, truth, and one index (docs/synthetic.md describes the columns)."""

from __future__ import annotations

import io
import json
import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lineament.data.registry import UNFINISHED
from lineament.data.sample import FaceSample
from lineament.denormals import flush_denormals
from lineament.eight_bit import to_pil
from lineament.errors import DataError, UsageError
from lineament.faces.schemes import scheme
from lineament.files import replacing, write_bytes, write_text
from lineament.parallel import single_threaded_children
from lineament.synthetic.source import SyntheticFaces
from lineament.synthetic.world import ADDED, World

INDEX, SETTINGS, ROWS = "index.parquet", "settings.json", "rows"
CHUNK = 64
"""Images between two points from which an interrupted run goes on."""

POINTS = len(scheme("68"))
_list = pa.list_
SCHEMA = pa.schema(
    [
        ("index", pa.int64()),
        ("file", pa.string()),
        ("truth", pa.string()),
        ("person", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("box", _list(pa.float32(), 4)),
        ("landmarks", _list(pa.float32(), 2 * POINTS)),
        ("visibility", _list(pa.bool_(), POINTS)),
        ("landmark_depth", _list(pa.float32(), POINTS)),
        ("landmarks_3d", _list(pa.float32(), 3 * POINTS)),
        ("visibility_3d", _list(pa.bool_(), POINTS)),
        ("pose", _list(pa.float32(), 3)),
        ("intrinsics", _list(pa.float32(), 9)),
        ("world_to_camera", _list(pa.float32(), 16)),
        ("identity", _list(pa.float32())),
        ("expression", _list(pa.float32())),
        ("mood", pa.string()),
        ("style", pa.string()),
        ("worn", pa.string()),
        ("light_harmonics", _list(pa.float32(), 27)),
        ("light_sun", _list(pa.float32(), 3)),
        ("light_sun_colour", _list(pa.float32(), 3)),
        ("light_softness", pa.float32()),
        ("light_exposure", pa.float32()),
    ]
)


def write_faces(
    out: Path,
    world: World,
    count: int,
    packs: Path | str | None = None,
    workers: int = 2,
    overwrite: bool = False,
    advance: Callable[[int], None] | None = None,
    submit: Callable[..., Future[Any]] | None = None,
) -> int:
    """Draw images ``0 .. count - 1`` of a world into a folder.

    Images that lie there already are kept: an interrupted call is simply repeated, and a larger ``count`` adds to the
    folder. Every file appears whole or not at all; ``index.parquet`` comes last.

    Args:
        out: The folder, made when missing.
        world: What to draw.
        count: Number of images.
        packs: Where the ICT head lies.
        workers: Processes that draw at once; 1 draws in this one.
        overwrite: Replace a folder that holds another world.
        advance: Called with the number of images finished (also those found there).
        submit: Gives work to processes that run already, as ``Executor.submit``; none are then started.

    Returns:
        Number of images drawn by this call.

    Raises:
        UsageError: On an unknown kind of truth, impossible numbers, or a folder that holds another world.
        DataError: When the folder holds an index that cannot be read.
    """
    world.check()
    if count < 1 or workers < 1:
        raise UsageError(f"count and workers must be at least 1, got {count} and {workers}.")
    world.source(count, str(packs) if packs else None)
    _claim(out, world, overwrite)
    report = advance or (lambda number: None)
    for leftover in [
        path for name in ("", ROWS, "images", "truth") for path in (out / name).glob(".writing-*")
    ]:
        leftover.unlink()
    old = _read_index(out) if (out / INDEX).is_file() else None
    have = 0 if old is None else old.num_rows
    if have >= count:
        report(count)
        return 0
    report(have)
    if old is None:
        write_text(
            out / UNFINISHED,
            "`lineament data synth` was interrupted: repeat the same command, it goes on where it stopped.\n",
        )
    jobs = []
    for start in range(have, count, CHUNK):
        stop = min(start + CHUNK, count)
        rows = out / ROWS / f"{start:07d}-{stop:07d}.parquet"
        if rows.is_file():
            report(stop - start)
        else:
            jobs.append((start, stop, rows))
    place = str(packs) if packs else None
    work = [(out, world, count, place, *job) for job in jobs]
    if submit:
        finished = _in_processes(submit, work, 2 * workers)
    elif workers == 1 or len(work) < 2:
        finished = (_draw_chunk(*each) for each in work)
    else:
        finished = _in_own_processes(work, workers)
    for start, stop in finished:
        report(stop - start)
    _merge(out, world, old, have, count)
    (out / UNFINISHED).unlink(missing_ok=True)
    return sum(stop - start for start, stop, _ in jobs)


def _claim(out: Path, world: World, overwrite: bool) -> None:
    """Make the folder ours, or refuse it."""
    settings = world.settings()
    path = out / SETTINGS
    if path.is_file():
        try:
            old = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise DataError(f"{path} is damaged ({error}): remove the folder and draw it anew.") from error
        asked, there = {**ADDED, **settings}, {**ADDED, **old}
        differing = [name for name in asked if there.get(name) != asked[name]]
        if not differing:
            return
        if not overwrite:
            told = ", ".join(f"{name} {there.get(name)} there, {asked[name]} asked" for name in differing)
            raise UsageError(f"{out} holds another world ({told}): choose another folder or add --overwrite.")
        _clear(out)
    elif out.exists() and any(out.iterdir()):
        raise UsageError(f"{out} is not empty and was not written by data synth: choose another folder.")
    write_text(path, json.dumps(settings, indent=2) + "\n")


def _clear(out: Path) -> None:
    """Remove what an earlier call wrote, the index first, so that no index ever names missing images."""
    (out / INDEX).unlink(missing_ok=True)
    for folder, ending in ((out / ROWS, "*.parquet"), (out / "images", "*.png"), (out / "truth", "*.npz")):
        for path in sorted(folder.glob(ending)):
            path.unlink()


def _in_own_processes(work: list[tuple[Any, ...]], workers: int) -> Iterator[tuple[int, int]]:
    context = multiprocessing.get_context("spawn")
    with single_threaded_children(), ProcessPoolExecutor(min(workers, len(work)), context) as pool:
        yield from _in_processes(pool.submit, work, 2 * workers)


def _in_processes(
    submit: Callable[..., Future[Any]], work: list[tuple[Any, ...]], ahead: int
) -> Iterator[tuple[int, int]]:
    """Draw the chunks in other processes; yields each when it is done."""
    waiting: set[Future[tuple[int, int]]] = set()
    left = iter(work)
    try:
        while True:
            # Only a few chunks wait at a time, so that an interrupt ends soon.
            while len(waiting) < ahead and (each := next(left, None)):
                waiting.add(submit(_draw_chunk, *each))
            if not waiting:
                return
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for finished in done:
                yield finished.result()
    finally:
        for future in waiting:
            future.cancel()


def _draw_chunk(
    out: Path, world: World, count: int, packs: str | None, start: int, stop: int, rows: Path
) -> tuple[int, int]:
    # In a process of its own or in the caller's: the images are the same.
    with flush_denormals():
        return _draw_images(out, world, world.source(count, packs), start, stop, rows)


def _draw_images(
    out: Path, world: World, source: SyntheticFaces, start: int, stop: int, rows: Path
) -> tuple[int, int]:
    table = []
    for index in range(start, stop):
        sample = source[index]
        name = f"{index:07d}"
        buffer = io.BytesIO()
        to_pil(sample.image).save(buffer, format="PNG", compress_level=2)
        file = f"images/{name}.png"
        write_bytes(out / file, buffer.getvalue(), durable=False)
        truth = None
        if world.truth:
            truth = f"truth/{name}.npz"
            _write_truth(out / truth, sample, world.truth)
        table.append(_row(index, file, truth, sample))
    with replacing(rows) as temporary:
        pq.write_table(pa.Table.from_pylist(table, schema=SCHEMA), temporary)
    return start, stop


def _write_truth(path: Path, sample: FaceSample, kinds: tuple[str, ...]) -> None:
    """Maps of one image: depth float32 mm, normals int8 / 127, mask bool, uv float32 (NaN where empty)."""
    assert sample.depth is not None and sample.normals is not None
    assert sample.mask is not None and sample.correspondence is not None
    maps: dict[str, np.ndarray] = {}
    if "depth" in kinds:
        maps["depth"] = sample.depth.numpy()
    if "normals" in kinds:
        maps["normals"] = np.rint(sample.normals.numpy() * 127.0).astype(np.int8)
    if "mask" in kinds:
        maps["mask"] = sample.mask.numpy()
    if "uv" in kinds:
        maps["uv"] = sample.correspondence.numpy()
    with replacing(path, durable=False) as temporary:
        np.savez_compressed(temporary, **maps)  # type: ignore[arg-type]


def _row(index: int, file: str, truth: str | None, sample: FaceSample) -> dict[str, Any]:
    assert sample.landmarks is not None and sample.visibility is not None and sample.box is not None
    assert sample.camera is not None and sample.pose is not None
    assert sample.identity_coefficients is not None and sample.expression_coefficients is not None
    light = sample.meta["light"]
    return {
        "index": index,
        "file": file,
        "truth": truth,
        "person": sample.identity,
        "width": sample.image.shape[2],
        "height": sample.image.shape[1],
        "box": sample.box.tolist(),
        "landmarks": sample.landmarks.flatten().tolist(),
        "visibility": sample.visibility.tolist(),
        "landmark_depth": sample.meta["landmark_depth"].tolist(),
        "landmarks_3d": sample.meta["landmarks_3d"].flatten().tolist(),
        "visibility_3d": sample.meta["visibility_3d"].tolist(),
        "pose": sample.pose.tolist(),
        "intrinsics": sample.camera.intrinsics.flatten().tolist(),
        "world_to_camera": sample.camera.world_to_camera.flatten().tolist(),
        "identity": sample.identity_coefficients.tolist(),
        "expression": sample.expression_coefficients.tolist(),
        "mood": sample.meta["mood"],
        "style": sample.meta["style"],
        "worn": sample.meta["worn"],
        "light_harmonics": np.ravel(light["harmonics"]).tolist(),
        "light_sun": light["sun"],
        "light_sun_colour": light["sun_colour"],
        "light_softness": light["softness"],
        "light_exposure": light["exposure"],
    }


def _merge(out: Path, world: World, old: pa.Table | None, have: int, count: int) -> None:
    """Join the rows of all chunks behind those of the old index."""
    files = [
        out / ROWS / f"{start:07d}-{min(start + CHUNK, count):07d}.parquet"
        for start in range(have, count, CHUNK)
    ]
    if old is not None and "worn" not in old.column_names:
        place = SCHEMA.names.index("worn")
        old = old.add_column(place, "worn", pa.array([""] * old.num_rows, pa.string()))
    tables = ([old.replace_schema_metadata(None)] if old is not None else []) + [
        pq.read_table(file) for file in files
    ]
    table = pa.concat_tables([table.cast(SCHEMA) for table in tables]).combine_chunks()
    settings = world.settings()
    table = table.replace_schema_metadata(
        {"lineament.reader": "synthetic", "lineament.world": json.dumps(settings), "lineament.scheme": "68"}
    )
    with replacing(out / INDEX) as temporary:
        pq.write_table(table, temporary)
    for leftover in sorted((out / ROWS).glob("*.parquet")):
        leftover.unlink()
    (out / ROWS).rmdir()


def _read_index(out: Path) -> pa.Table:
    try:
        return pq.read_table(out / INDEX)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(
            f"cannot read {out / INDEX} ({error}): remove it and draw the folder anew."
        ) from error

"""Finds the faces of a data set, cuts each out by a named rule, and keeps account of what was left out and why.

The result is a cache of crops (docs/data.md): shards of images, an index with the transform from each crop back to
its photo, and a list of what was left out. Worker processes cut; this process alone writes, shard after shard,
each complete before its photos count as done, so that a run may end at any moment and be repeated.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from lineament.data.cache_format import SHARDS
from lineament.data.sample import FaceSource
from lineament.data.shards import shard_name, writing_shard
from lineament.data.subset import sample_digest, sample_id
from lineament.errors import DataError, LineamentError
from lineament.faces.detection import least_score
from lineament.parallel import ordered_map
from lineament.pipeline.prepare.faces import Cut, Cutter
from lineament.pipeline.prepare.files import LEFT_OUT, Group, Known, claimed, finish, take_stock, write_part
from lineament.pipeline.prepare.options import PrepareOptions
from lineament.progress import Progress, silent

# Photos of one shard, and those read and searched together by one process.
PER_SHARD, CHUNK = 256, 8
_AGAIN = "run the same command again, it goes on where it stopped"


@dataclass
class PrepareReport:
    """What a run did.

    Attributes:
        out: Folder of the crops.
        photos: Photos of the data set.
        skipped: Photos that were done before.
        crops: Crops in the index.
        left_out: Kind of reason -> photos.
        repaired: Shards that were found damaged and written again.
    """

    out: Path
    photos: int
    skipped: int = 0
    crops: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    repaired: list[str] = field(default_factory=list)

    def summary(self) -> str:
        """Say the result in a few lines."""
        before = f" ({self.skipped} photos were done before)" if self.skipped else ""
        text = f"wrote {self.crops} crops of {self.photos} photos to {self.out}{before}"
        if self.repaired:
            text += f"\nrepaired what was damaged: {', '.join(self.repaired)}"
        if not self.left_out:
            return text + "; nothing was left out."
        shown = ", ".join(f"{count} {kind}" for kind, count in self.left_out.most_common())
        return f"{text}\nleft out {self.left_out.total()} ({shown}): {self.out / LEFT_OUT}"


def prepare(
    source: FaceSource,
    out: Path,
    options: PrepareOptions,
    overwrite: bool = False,
    workers: int = 1,
    progress: Progress = silent,
) -> PrepareReport:
    """Cut out the faces of every image of a source.

    Unreadable images, images without a face and faces that the rule cannot cut are left out and listed. The
    crops do not depend on the number of workers or on interruptions.

    Args:
        source: The images.
        out: Folder to write; an interrupted run goes on in it, a damaged shard is repaired.
        options: How.
        overwrite: Start again; crops of an older run are removed.
        workers: Processes that read, search and cut; 1 does all in this one.
        progress: Shows progress, for example :func:`lineament.progress.progress`.

    Raises:
        UsageError: On an unknown crop or detector, or impossible numbers.
        LineamentError: If the folder holds something else or crops made in another way, or cannot be written.
        DataError: If no face could be cut out.
    """
    options.check()
    settings = _settings(source, options)
    photos = _Photos.of(source)
    try:
        with claimed(out, settings, overwrite):
            known = take_stock(out, photos.names, photos.digests, workers, progress)
            skipped = len(known.done) + sum(len(group.kept) for group in known.damaged)
            groups = [*known.damaged, *_new_groups(known, len(photos.names))]
            todo = [index for group in groups for index in group.photos if index not in group.kept]
            chunks = [todo[start : start + CHUNK] for start in range(0, len(todo), CHUNK)]
            processes = max(1, min(workers, len(chunks)))
            with (
                ordered_map(Cutter(source, options), chunks, processes, _AGAIN) as results,
                progress("cropping", len(photos.names), "photos", skipped) as step,
            ):
                cuts = chain.from_iterable(results)
                for group in groups:
                    _write_group(out, group, cuts, photos, step)
                    known.done.update(dict.fromkeys(group.photos, group.number))
            region, around = options.frame
            inner = [around - 0.5, around - 0.5, around + region - 0.5, around + region - 0.5]
            facts = {"settings": settings, "region": inner, "source_fingerprint": source.fingerprint}
            counts = finish(out, photos.names, known.done, facts)
    except OSError as error:
        raise LineamentError(
            f"cannot write the crops in {out} ({error.strerror or error}): free some space or make it writable, then "
            f"{_AGAIN}."
        ) from error
    crops = counts.pop("crops")
    if not crops:
        raise DataError(
            f"no face of {source.name} could be cut out: {counts.total()} photos were left out, see "
            f"{out / LEFT_OUT}."
        )
    repaired = [str(out / SHARDS / shard_name(group.number)) for group in known.damaged]
    return PrepareReport(out, len(photos.names), skipped, crops, counts, repaired)


def _settings(source: FaceSource, options: PrepareOptions) -> dict[str, Any]:
    """All that decides what the crops are, as JSON holds it."""
    region, around = options.frame
    margins = None if options.margins is None else list(options.margins)
    sides = {"size": options.crop_side, "around": around, "side": region + 2 * around, "margins": margins}
    score = least_score(options.detector) if options.min_score is None else options.min_score
    return {"source": source.name, **asdict(options), "min_score": score, **sides}


@dataclass(frozen=True)
class _Photos:
    """Ids of all images in order, and the digest of each."""

    names: list[str]
    digests: list[str]
    taken: frozenset[str]

    @staticmethod
    def of(source: FaceSource) -> _Photos:
        names = [sample_id(source, index) for index in range(len(source))]
        taken = frozenset(names)
        if len(taken) < len(names):
            twice = next(name for name, count in Counter(names).items() if count > 1)
            raise DataError(f"{source.name} names the photo {twice!r} twice: remove one of them.")
        return _Photos(names, [sample_digest(source, index) for index in range(len(source))], taken)

    def crop(self, index: int, number: int) -> str:
        """Id of crop ``number`` of an image: that of the image, for further ones with a number behind it."""
        name = self.names[index]
        if number == 1:
            return name
        while f"{name}@{number}" in self.taken:
            name += "@"
        return f"{name}@{number}"


def _new_groups(known: Known, count: int) -> Iterator[Group]:
    """Share out the images that no shard holds to new shards."""
    placed = set(known.done).union(*(group.photos for group in known.damaged))
    left = [index for index in range(count) if index not in placed]
    numbers = known.next_numbers()
    for start in range(0, len(left), PER_SHARD):
        yield Group(next(numbers), left[start : start + PER_SHARD])


def _write_group(
    out: Path, group: Group, cuts: Iterator[Cut], photos: _Photos, step: Callable[[], None]
) -> None:
    """Write one shard, then its table."""
    rows: list[dict[str, Any]] = []
    with writing_shard(out / SHARDS / shard_name(group.number)) as shard:
        for index in group.photos:
            known = group.kept.get(index)
            cut = known or next(cuts)
            photo = {"photo_id": photos.names[index], "photo_digest": photos.digests[index]}
            if not cut.crops:
                rows.append({**photo, "reason": cut.reason})
            for number, (row, data) in enumerate(cut.crops, start=1):
                name = photos.crop(index, number)
                slot = shard.add(_member(name, data), data)
                rows.append({"id": name, "shard": group.number, **asdict(slot), **photo, **row})
            if known is None:
                step()
    write_part(out, group.number, rows, shard.size, shard.crc)


def _member(name: str, data: bytes) -> str:
    """Name of a crop inside its shard: that of the image, with the ending of what it is now."""
    ending = "webp" if data[8:12] == b"WEBP" else "png" if data[1:4] == b"PNG" else "jpg"
    parts = [part for part in name.split("/") if part not in ("", ".", "..")]
    return "/".join(parts) + f".{ending}"

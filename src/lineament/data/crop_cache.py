"""Face crops in shards, read at random by their index: what ``lineament data prepare`` writes and recipes train on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lineament.data.cache_format import (
    INDEX,
    INDEX_SCHEMA,
    REMEDY,
    SHARDS,
    file_sha256,
    read_manifest,
    read_table,
)
from lineament.data.images import decode_image
from lineament.data.rejects import label_faults
from lineament.data.sample import FaceSample
from lineament.data.shards import ShardFiles, Slot, file_crc, shard_name
from lineament.data.subset import digest, held_out
from lineament.errors import DataError
from lineament.geometry.affine2d import Affine2D

# One face in ten is held out by the splits train and val.
HELD_OUT = 0.1


class CropCache:
    """The crops of a cache, in the order of the images they were cut from.

    Box and labelled landmarks come in pixels of the crop. ``meta`` holds what the data set's own reader knew (plain
    values such as ``subsets``) and

    - ``crop_to_photo``: 2x3 row by row, crop pixels to image pixels; ``photo``: its path; ``photo_size``: width,
      height;
    - ``detected_points``: five points xy in pixels of the crop, a detector's guess, where a detector was used;
    - ``turn``: degrees by which the image was turned counter-clockwise to make the face upright; None where the
      cache is older than that;
    - ``crop_rule``: how it was cut, with ``cut_by`` (box or landmarks) and ``region`` (x0, y0, x1, y1 in pixels of the
      crop), the square that the rule gives; what lies around it was kept for random moves.

    Every read is checked against its CRC; the size of every shard and the digest of the index are checked here.

    Args:
        root: Folder of the cache.
        split: ``all``; or ``train`` and ``val``, nine tenths and one tenth of the people (of the images where no
            identity is known).
        rejects: Ids to leave out, with reasons.

    Raises:
        DataError: If the cache is incomplete or damaged, or no crop is left.
    """

    def __init__(self, root: Path, split: str = "all", rejects: Mapping[str, str] | None = None) -> None:
        self.root = root
        self.name = f"{root.resolve().name}/{split}"
        self.manifest = read_manifest(root)
        if "index_sha256" not in self.manifest:
            raise DataError(
                f"the crops in {root} are not complete: run `lineament data prepare` again as before, it goes on "
                "where it stopped."
            )
        self._table = _checked_index(root, self.manifest["index_sha256"])
        self._check_sizes()
        self._files = ShardFiles(root / SHARDS, REMEDY)
        ids = self._table["id"].to_pylist()
        left_out = rejects or {}
        self.rejected = {name: left_out[name] for name in ids if name in left_out}
        kept = np.array([name not in left_out for name in ids], dtype=bool)
        if split != "all":
            people = zip(
                self._table["identity"].to_pylist(), self._table["photo_id"].to_pylist(), strict=True
            )
            wanted = split == "val"
            kept &= [held_out(photo if who is None else who, HELD_OUT) == wanted for who, photo in people]
        self._rows = np.flatnonzero(kept)
        if not len(self._rows):
            gone = f" after {len(self.rejected)} on the reject list were left out" if self.rejected else ""
            raise DataError(f"{self.name} holds no samples{gone}.")

    @property
    def settings(self) -> dict[str, Any]:
        """How the crops were made: rule, size, what lies around it, source, detector."""
        return dict(self.manifest["settings"])

    @property
    def fingerprint(self) -> str:
        """Changes with every crop and label that is given out; moving or copying the folder changes nothing."""
        return digest("crops", self.manifest["fingerprint"], self._rows.tolist())

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> FaceSample:
        if not 0 <= index < len(self):
            raise IndexError(f"sample {index} does not exist: {self.name} holds {len(self)} samples.")
        row = {
            name: column[0]
            for name, column in self._table.slice(int(self._rows[index]), 1).to_pydict().items()
        }
        slot = Slot(row["offset"], row["length"], row["crc"])
        place = f"{self.root / SHARDS / shard_name(row['shard'])}/{row['id']}"
        image = decode_image(self._files.read(row["shard"], slot, row["id"]), place)
        sample = self._sample(row, image)
        faults = label_faults(sample)
        if faults:
            raise DataError(f"the labels of {place} cannot be used: {'; '.join(faults)}.")
        return sample

    def id_of(self, index: int) -> str:
        """Return the id of a sample without reading it."""
        return str(self._table["id"][int(self._rows[index])].as_py())

    def digest_of(self, index: int) -> str:
        """Digest of the image and labels of one sample."""
        row = self._table.slice(int(self._rows[index]), 1).drop_columns(["shard", "offset", "photo"])
        return digest(*row.to_pylist())

    def damaged_shards(self) -> list[str]:
        """Read every byte of every shard and say which are not what was written."""
        faults = []
        for number, facts in self._shards().items():
            path = self.root / SHARDS / shard_name(number)
            try:
                if file_crc(path) != facts["crc"]:
                    faults.append(f"{path} holds other bytes than were written")
            except OSError as error:
                faults.append(f"{path} cannot be read ({error.strerror or error})")
        return faults

    def _shards(self) -> dict[int, dict[str, int]]:
        return {int(number): facts for number, facts in self.manifest["shards"].items()}

    def _check_sizes(self) -> None:
        for number, facts in self._shards().items():
            path = self.root / SHARDS / shard_name(number)
            size = path.stat().st_size if path.is_file() else None
            if size is None:
                raise DataError(f"{path} is missing: {REMEDY}.")
            if size != facts["size"]:
                raise DataError(f"{path} has {size} bytes instead of {facts['size']}: {REMEDY}.")

    def _sample(self, row: Mapping[str, Any], image: Tensor) -> FaceSample:
        to_photo = Affine2D(torch.tensor(row["crop_to_photo"], dtype=torch.float64).reshape(2, 3))
        to_crop = to_photo.inverse()
        settings = self.manifest["settings"]
        rule = {name: settings[name] for name in ("crop", "margins")} | {
            "cut_by": row["cut_by"],
            "region": self.manifest["region"],
        }
        meta = json.loads(row["meta"] or "{}") | {
            "crop_to_photo": to_photo.matrix.tolist(),
            "photo": row["photo"],
            "photo_size": (row["photo_width"], row["photo_height"]),
            "turn": row.get("turn"),
            "crop_rule": rule,
        }
        if row["subsets"] is not None:
            meta["subsets"] = tuple(row["subsets"])
        if row["detected_points"] is not None:
            meta["detected_points"] = to_crop.apply(_points(row["detected_points"])).tolist()
        box, marks, seen = row["box"], row["landmarks"], row["visibility"]
        return FaceSample(
            id=row["id"],
            image=image,
            box=None if box is None else to_crop.apply_box(torch.tensor(box, dtype=torch.float64)).float(),
            landmarks=None if marks is None else to_crop.apply(_points(marks)).float(),
            scheme=row["scheme"],
            visibility=None if seen is None else torch.tensor(seen, dtype=torch.bool),
            identity=row["identity"],
            path=self.root / SHARDS / shard_name(row["shard"]),
            meta=meta,
        )


def _points(values: Sequence[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64).reshape(-1, 2)


def _checked_index(root: Path, expected: str) -> Any:
    path = root / INDEX
    if not path.is_file():
        raise DataError(f"{path} is missing: {REMEDY}.")
    if file_sha256(path) != expected:
        raise DataError(f"{path} is not what was written: {REMEDY}.")
    table = read_table(path)
    if not table.schema.equals(INDEX_SCHEMA):
        raise DataError(f"{path} has other columns than this version reads: update lineament.")
    return table.combine_chunks()

"""Reads a folder that ``lineament data synth`` wrote."""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from lineament.data.images import read_image
from lineament.data.sample import LANDMARKS68, FaceSample
from lineament.data.subset import digest
from lineament.errors import DataError
from lineament.faces.schemes import scheme_word
from lineament.geometry.camera import Camera
from lineament.heads.load import load_head
from lineament.synthetic.places import Relabeller, read_places
from lineament.synthetic.source import LANDMARK_SCHEMES, five_points
from lineament.synthetic.subsets import subsets_of
from lineament.synthetic.world import World


class SyntheticFolder:
    """The faces of a folder, in the order of its index.

    Args:
        root: Folder with ``index.parquet``; docs/synthetic.md describes it.
        scheme: Of the landmarks: ``"68"``, whose jaw follows the visible outline, ``"68-3d"``, fixed places, or a
            scheme (a name or a file) that says where its points lie on the head that was drawn; these come without
            visibility.
        packs: For such a scheme: where the ICT head lies.

    Raises:
        UsageError: When there is no such scheme, or it does not say where its points lie on the head.
        DataError: When there is no readable index, it holds no landmarks of the scheme, or the head is not there.
    """

    def __init__(self, root: Path | str, scheme: str = "68", packs: Path | str | None = None) -> None:
        self.scheme = scheme
        self.root = Path(root)
        path = self.root / "index.parquet"
        if not path.is_file():
            raise DataError(
                f"{self.root} has no index.parquet: draw it with `lineament data synth --out {self.root}`."
            )
        try:
            self._table = pq.read_table(path)
        except (pa.ArrowInvalid, OSError) as error:
            raise DataError(f"cannot read the index {path}: {error}.") from error
        metadata = self._table.schema.metadata or {}
        missing = {"file", "landmarks", "box", "intrinsics", "world_to_camera"} - set(
            self._table.column_names
        )
        if b"lineament.world" not in metadata or missing:
            raise DataError(f"{path} was not written by `lineament data synth`.")
        self._has_fixed = {"landmarks_3d", "visibility_3d"} <= set(self._table.column_names)
        if scheme == "68-3d" and not self._has_fixed:
            raise DataError(f"{path} holds no landmarks of scheme 68-3d: draw the folder anew.")
        self.world: dict[str, Any] = json.loads(metadata[b"lineament.world"])
        self._digest = hashlib.sha256(path.read_bytes()).hexdigest()
        self._relabeller: Relabeller | None = None
        self._places = ""
        if scheme not in LANDMARK_SCHEMES:
            layout, places = read_places(scheme, self.world["head"])
            self.scheme = scheme_word(layout)
            self._places = digest(places)
            world = World.of(self.world)
            head = load_head(world.head, packs)
            self._relabeller = Relabeller(head, places, world.options(), world.seed)

    @property
    def name(self) -> str:
        """For example ``synthetic-ict-seed0``."""
        return f"synthetic-{self.world['head']}-seed{self.world['seed']}"

    @property
    def fingerprint(self) -> str:
        """Digest of the index, which holds everything that decides the images, and of the landmarks' places."""
        return self._digest if self.scheme == "68" else digest(self._digest, self.scheme, *self._told)

    def __len__(self) -> int:
        """Number of images."""
        return int(self._table.num_rows)

    def __getitem__(self, index: int) -> FaceSample:
        """Read one face; raises ``DataError`` naming a file that cannot be used."""
        if not 0 <= index < len(self):
            raise IndexError(f"image {index} of {len(self)}")
        row = {name: column[0] for name, column in self._table.slice(index, 1).to_pydict().items()}
        path = self.root / row["file"]
        image = read_image(path)
        landmarks = torch.tensor(row["landmarks"], dtype=torch.float32).reshape(-1, 2)
        depth = _tensor(row["landmark_depth"])
        visibility: Tensor | None = torch.tensor(row["visibility"])
        meta: dict[str, Any] = {}
        if self._has_fixed:
            fixed = _tensor(row["landmarks_3d"]).reshape(-1, 3)
            meta = {"landmarks_3d": fixed, "visibility_3d": torch.tensor(row["visibility_3d"])}
            if self.scheme == "68-3d":
                landmarks, depth, visibility = fixed[:, :2], fixed[:, 2], meta["visibility_3d"]
        camera = Camera(
            _tensor(row["intrinsics"]).reshape(3, 3),
            _tensor(row["world_to_camera"]).reshape(4, 4),
            int(row["width"]),
            int(row["height"]),
        )
        five = five_points(landmarks)
        if self._relabeller is not None:
            meta[LANDMARKS68] = landmarks
            placed = self._relabeller.points(row, camera)
            landmarks, depth, visibility = placed[:, :2].contiguous(), placed[:, 2], None
        sample = FaceSample(
            id=row["file"],
            image=image,
            box=_tensor(row["box"]),
            landmarks=landmarks,
            scheme=self.scheme,
            visibility=visibility,
            identity=row["person"],
            pose=_tensor(row["pose"]),
            camera=camera,
            identity_coefficients=_tensor(row["identity"]),
            expression_coefficients=_tensor(row["expression"]),
            path=path,
            meta={
                **meta,
                "landmark_depth": depth,
                "landmarks5": five,
                "mood": row["mood"],
                "style": row["style"],
                "worn": row.get("worn", ""),
                "subsets": subsets_of(row["pose"][0], row.get("worn", ""), row["box"]),
                "light": {
                    "harmonics": np.reshape(row["light_harmonics"], (9, 3)).tolist(),
                    "sun": row["light_sun"],
                    "sun_colour": row["light_sun_colour"],
                    "softness": row["light_softness"],
                    "exposure": row["light_exposure"],
                },
            },
        )
        if row["truth"]:
            self._add_truth(sample, self.root / row["truth"])
        return sample

    def id_of(self, index: int) -> str:
        """Return the id of an image without reading it."""
        return str(self._table["file"][index].as_py())

    def digest_of(self, index: int) -> str:
        """Digest of the row of one image, which holds everything that decides it."""
        row = self._table.slice(index, 1).to_pylist()
        return digest(json.dumps(self.world), self.scheme, *self._told, *row)

    @property
    def _told(self) -> tuple[str, ...]:
        """What decides the landmarks besides the index and the scheme."""
        return (self._places,) if self._places else ()

    @staticmethod
    def _add_truth(sample: FaceSample, path: Path) -> None:
        try:
            with np.load(path, allow_pickle=False) as maps:
                found = {name: maps[name] for name in maps.files}
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            raise DataError(f"cannot read the truth {path}: {error}.") from error
        if "depth" in found:
            sample.depth = torch.from_numpy(found["depth"])
        if "mask" in found:
            sample.mask = torch.from_numpy(found["mask"])
        if "uv" in found:
            sample.correspondence = torch.from_numpy(found["uv"])
        if "normals" in found:
            normals = torch.from_numpy(found["normals"]).float()
            sample.normals = normals / normals.norm(dim=0, keepdim=True).clamp_min(1.0)


def _tensor(values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float32)

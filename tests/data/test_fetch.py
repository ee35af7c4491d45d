"""`lineament data fetch` against a server on this machine, with small stand-ins for the published files."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
import threading
import zipfile
from collections import Counter
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from PIL import Image

from lineament.cli.main import main
from lineament.errors import DataError
from lineament.heads.ict import NEUTRAL_OBJ
from lineament.pipeline.fetch import download as downloads
from lineament.pipeline.fetch import run as fetching
from lineament.pipeline.fetch.download import read_table
from lineament.pipeline.fetch.ict import facts_of

VERTICES, COSMETIC = 12, 4
CORNERS = np.array(
    [[i, i + 1, i + 2, i + 3] for i in range(0, 12, 2)]
)  # the last one touches the cosmetic layer


class Handler(SimpleHTTPRequestHandler):
    """Counts what is asked for; answers 503 to names in `broken`."""

    asked: ClassVar[Counter[str]] = Counter()
    broken: ClassVar[set[str]] = set()

    def do_GET(self) -> None:
        name = self.path.rsplit("/", 1)[-1]
        Handler.asked[name] += 1
        if name in Handler.broken:
            self.send_error(503)
        else:
            super().do_GET()

    def log_message(self, *words: Any) -> None:
        pass


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder that is served, and its address."""
    folder = tmp_path / "site"
    folder.mkdir()
    Handler.asked, Handler.broken = Counter(), set()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield folder, f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the user, where packs go; tables are looked for in `tables`, and nothing is tried twice."""
    for name in ("LINEAMENT_PACKS", "http_proxy", "https_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(fetching, "TABLES", tmp_path / "tables")
    monkeypatch.setattr(
        fetching.fetch_pack, "__kwdefaults__", {**fetching.fetch_pack.__kwdefaults__, "retries": 0}
    )
    return tmp_path / "cache" / "lineament" / "packs"


def write_table(tables: Path, folder: Path, address: str) -> None:
    """The table of all files that are served."""
    tables.mkdir(parents=True, exist_ok=True)
    with (tables / "sources.csv").open("w", newline="") as lines:
        rows = csv.writer(lines)
        rows.writerow(("file", "url", "bytes", "sha256"))
        for path in sorted(folder.iterdir()):
            data = path.read_bytes()
            rows.writerow((path.name, f"{address}/{path.name}", len(data), hashlib.sha256(data).hexdigest()))


def portraits(site: tuple[Path, str], tables: Path, count: int = 5) -> dict[str, np.ndarray]:
    """Smooth coloured pictures of 200 x 250, served, with their table and index."""
    folder, address = site
    rows, columns = np.mgrid[:250, :200]
    pictures = {}
    lines = ["bioguide_id,face_x,face_y,face_w,face_h,mean_gray"]
    for number in range(count):
        picture = np.stack([rows, columns, 20.0 * number + 0 * rows], -1).clip(0, 255).astype(np.uint8)
        Image.fromarray(picture).save(folder / f"P{number}.jpg", quality=95)
        with Image.open(folder / f"P{number}.jpg") as image:
            pictures[f"P{number}.jpg"] = np.asarray(image.convert("L"), float)
        lines.append(f"P{number},60,70,100,100,{pictures[f'P{number}.jpg'].mean():.1f}")
    write_table(tables, folder, address)
    (tables / "index.csv").write_text("\n".join(lines) + "\n")
    (tables / "README.md").write_text("# stand-ins\n")
    return pictures


def obj(vertices: np.ndarray) -> str:
    lines = ["mtllib kit.mtl", *(f"v {x:.6f} {y:.6f} {z:.6f}" for x, y, z in vertices)]
    lines += [f"vt {0.05 * number:.4f} {0.5 + 0.01 * number:.4f}" for number in range(len(vertices) + 3)]
    lines.append("usemtl M_Face")
    for number, quad in enumerate(CORNERS):
        if number == len(CORNERS) - 1:
            lines.append("usemtl M_EyeLashes")
        lines.append("f " + " ".join(f"{corner + 1}/{corner + 4}" for corner in quad))
    return "\n".join(lines) + "\n"


def kit(site: tuple[Path, str], tables: Path) -> dict[str, np.ndarray]:
    """A head of twelve vertices, two identities, three expressions in files like the kit's; returns the truth."""
    folder, address = site
    generator = np.random.default_rng(0)
    neutral = generator.normal(size=(VERTICES + COSMETIC, 3)).round(4)
    names = ["jawOpen", "browDown_L", "PupilDilate_L"]
    shapes = {
        name: generator.normal(size=neutral.shape).round(4) for name in ("identity000", "identity001", *names)
    }
    (folder / NEUTRAL_OBJ).write_text(obj(neutral))
    for name, shape in shapes.items():
        (folder / f"{name}.obj").write_text(obj(neutral + shape))
    (folder / "vertex_indices.json").write_text("{}")
    solid = CORNERS[(CORNERS < VERTICES).all(1)]
    triangles = np.stack([solid[:, [0, 1, 2]], solid[:, [0, 2, 3]]], 1).reshape(-1, 3)
    used = np.arange(3, 15)
    texture = np.stack([0.05 * used, 0.5 + 0.01 * used], -1).astype(np.float32)
    truth = {
        "neutral": neutral[:VERTICES].astype(np.float32),
        "identity": np.stack([shapes[f"identity00{i}"][:VERTICES] for i in (0, 1)]),
        "expression": np.stack([shapes[name][:VERTICES] for name in names]),
        "expression_names": np.array(names),
        "faces": triangles.astype(np.int32),
        "uv": texture,
        "faces_uv": triangles.astype(np.int32),
        "faces_material": np.ones(len(triangles), np.uint8),
        "material_names": np.array(["M_EyeLashes", "M_Face"]),
        **{
            key: np.arange(4, dtype=np.int32) for key in ("landmarks68", "landmarks68_jaw", "rigid_landmarks")
        },
        "rigid_vertices": np.array([1, 7], np.int32),
        "part_names": np.array(["face", "neck"]),
        "part_vertex_range": np.array([[0, 8], [8, VERTICES]], np.int32),
        "part_face_range": np.array([[0, 6], [6, len(triangles)]], np.int32),
    }
    write_table(tables, folder, address)
    sizes = {"vertices": 8, "faces": 6, "identities": 1, "expressions": 2}
    (tables / "facts.json").write_text(json.dumps(facts_of(truth, sizes)))
    return truth


def test_gray_portraits_are_made_of_what_is_published(site, cache: Path, tmp_path: Path, capsys):
    pictures = portraits(site, tmp_path / "tables" / "congress_portraits_gray")
    assert main(["data", "fetch", "portraits-gray"]) == 0
    place = cache / "congress_portraits_gray"
    assert str(place) in capsys.readouterr().out
    with zipfile.ZipFile(place / "portraits_200x250.zip") as archive:
        assert archive.namelist() == list(pictures)
        for name, truth in pictures.items():
            made = Image.open(io.BytesIO(archive.read(name)))
            assert made.mode == "L" and np.abs(np.asarray(made, float) - truth).mean() < 2
    assert {path.name for path in place.iterdir()} == {
        "README.md",
        "index.csv",
        "sources.csv",
        "portraits_200x250.zip",
    }
    assert not (cache / "downloads" / "congress_portraits_gray").exists()
    assert main(["data", "fetch", "portraits-gray"]) == 0 and "made before" in capsys.readouterr().out
    assert set(Handler.asked.values()) == {1}
    from lineament.data.registry import open_data

    source = open_data(str(place))
    assert len(source) == 5 and source[0].image.shape == (3, 250, 200), "readers take it"


def test_the_head_is_made_of_the_kits_meshes(site, cache: Path, tmp_path: Path):
    truth = kit(site, tmp_path / "tables" / "ict_facekit")
    assert main(["data", "fetch", "ict", "--keep-downloads"]) == 0
    with np.load(cache / "ict_facekit" / "ict_head.npz") as made:
        assert set(made.files) == set(truth)
        for key, values in truth.items():
            if key in ("identity", "expression"):
                assert made[key].dtype == np.float16
                np.testing.assert_allclose(made[key], values, atol=1e-3)
            else:
                np.testing.assert_array_equal(made[key], values)
    with np.load(cache / "ict_facekit" / "ict_face_small.npz") as small:
        assert small["neutral"].shape == (8, 3) and small["identity"].shape == (1, 8, 3)
        assert small["faces"].shape == (6, 3) and small["rigid_vertices"].tolist() == [1, 7]
        np.testing.assert_array_equal(small["uv"][small["faces_uv"]], truth["uv"][truth["faces_uv"][:6]])
    assert (cache / "downloads" / "ict_facekit" / NEUTRAL_OBJ).is_file()


def test_colour_portraits_keep_their_bytes(
    site, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder, address = site
    tables = tmp_path / "tables" / "congress_portraits_colour"
    lines = ["file,width,height,mode,split,sha256"]
    for number in range(3):
        path = folder / f"00{number}.jpg"
        Image.new("RGB", (512, 512), (40 * number, 80, 120)).save(path)
        lines.append(f"{path.name},512,512,RGB,train,{hashlib.sha256(path.read_bytes()).hexdigest()}")
    write_table(tables, folder, address)
    (tables / "index.csv").write_text("\n".join(lines) + "\n")
    assert main(["data", "fetch", "portraits-colour"]) == 0
    archive = cache / "congress_portraits_colour" / "portraits_512x512.zip"
    with zipfile.ZipFile(archive) as made:
        assert [made.read(name) for name in made.namelist()] == [
            path.read_bytes() for path in sorted(folder.iterdir())
        ]
    data = bytearray(archive.read_bytes())
    data[len(data) // 2] ^= 255
    archive.write_bytes(data)
    assert main(["data", "fetch", "portraits-colour"]) == 1, (
        "a pack that was damaged since is not taken for whole"
    )
    assert main(["data", "fetch", "portraits-colour", "--overwrite"]) == 0
    # Where the user says so, there and nowhere else.
    monkeypatch.setenv("LINEAMENT_PACKS", str(tmp_path / "named"))
    assert main(["data", "fetch", "portraits-colour"]) == 0
    assert (tmp_path / "named" / "congress_portraits_colour" / archive.name).is_file()


def test_it_goes_on_from_what_is_there(site, cache: Path, tmp_path: Path, capsys):
    portraits(site, tmp_path / "tables" / "congress_portraits_gray")
    Handler.broken = {"P3.jpg"}
    assert main(["data", "fetch", "portraits-gray", "--workers", "1"]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    waiting = cache / "downloads" / "congress_portraits_gray"
    assert "answers 503" in error and str(waiting) in error and "of 5 files by hand" in error
    assert "sources.csv" in error and not (cache / "congress_portraits_gray").exists()
    # One more may have been on its way when the third failed.
    there = {path.name for path in waiting.iterdir()}
    assert {"P0.jpg", "P1.jpg", "P2.jpg"} <= there <= {"P0.jpg", "P1.jpg", "P2.jpg", "P4.jpg"}
    # A file that was damaged since is fetched again.
    (waiting / "P0.jpg").write_bytes(b"torn")
    Handler.broken = set()
    assert main(["data", "fetch", "portraits-gray"]) == 0
    assert Handler.asked["P0.jpg"] == 2 and Handler.asked["P1.jpg"] == 1 and Handler.asked["P4.jpg"] >= 1


def test_offline_files_may_be_put_there_by_hand(site, cache: Path, tmp_path: Path, capsys):
    folder, _ = site
    tables = tmp_path / "tables" / "congress_portraits_gray"
    portraits(site, tables)
    write_table(tables, folder, "http://nowhere.invalid")
    assert main(["data", "fetch", "portraits-gray"]) == 1
    *_, error = capsys.readouterr().err.splitlines()
    waiting = cache / "downloads" / "congress_portraits_gray"
    assert "nowhere.invalid cannot be reached" in error and "put the 5 missing of 5 files" in error
    assert f"into {waiting}" in error and str(tables / "sources.csv") in error
    for path in folder.iterdir():
        (waiting / path.name).write_bytes(path.read_bytes())
    assert main(["data", "fetch", "portraits-gray"]) == 0


def test_another_file_than_the_table_names_is_refused(site, cache: Path, tmp_path: Path, capsys):
    folder, _ = site
    portraits(site, tmp_path / "tables" / "congress_portraits_gray")
    (folder / "P2.jpg").write_bytes(b"something else")
    assert main(["data", "fetch", "portraits-gray"]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert "P2.jpg gives another file than" in error and "try again later" in error
    assert not (cache / "congress_portraits_gray").exists()


@pytest.mark.parametrize(
    ("name", "said"),
    [("identity001.obj", "row 1 of the array identity"), (NEUTRAL_OBJ, "row 0 of the array neutral")],
)
def test_the_made_arrays_are_checked(name: str, said: str, site, cache: Path, tmp_path: Path, capsys):
    tables = tmp_path / "tables" / "ict_facekit"
    kit(site, tables)
    folder, address = site
    path = folder / name
    lines = path.read_text().splitlines()
    lines[3], lines[4] = lines[4], lines[3]  # two vertices change places
    path.write_text("\n".join(lines) + "\n")
    write_table(tables, folder, address)
    assert main(["data", "fetch", "ict"]) == 1
    assert said in capsys.readouterr().err and not (cache / "ict_facekit").exists()


def test_bad_words(cache: Path, tmp_path: Path, capsys):
    for words, said in (
        ([], "name at least one pack"),
        (["portraits-grey"], "did you mean 'portraits-gray'"),
        (["ict", "--workers", "0"], "--workers is at least 1"),
    ):
        assert main(["data", "fetch", *words]) == 2
        error = capsys.readouterr().err
        assert said in error and error.count("\n") == 1
    assert not cache.exists()


def test_the_packages_tables_name_every_file_of_the_packs():
    for pack in fetching.PACKS.values():
        files = read_table(pack.tables / "sources.csv")
        assert files and len({file.name for file in files}) == len(files)
        assert all(len(file.sha256) == 64 and file.url.startswith("https://") for file in files)
        assert not any("/" in file.name or file.name.startswith(".") for file in files)
        index = pack.tables / "index.csv"
        if index.exists():
            with index.open(newline="") as lines:
                rows = list(csv.DictReader(lines))
            column = next(iter(rows[0]))
            assert {Path(file.name).stem for file in files} == {Path(row[column]).stem for row in rows}


def test_the_packs_at_hand_are_what_would_be_made(packs: Path):
    for pack in fetching.PACKS.values():
        pack.check(packs / pack.folder)


def test_nobody_else_fetches():
    """pooch and requests are imported by one module alone, when files are fetched."""
    root = Path(downloads.__file__).parents[2]
    words = re.compile(r"^\s*(import|from) (pooch|requests|urllib\.request|http\.client)\b", re.M)
    assert [path for path in root.rglob("*.py") if words.search(path.read_text())] == [
        Path(downloads.__file__)
    ]


def test_a_table_that_is_none_is_refused():
    with pytest.raises(DataError, match="is no table of"):
        read_table(Path("nowhere"))

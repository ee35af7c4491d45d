"""The cache of crops: interrupted, damaged, asked for in another way; whatever happens, nothing is lost or doubled."""

from __future__ import annotations

import itertools
import json
import os
import pickle
import resource
import signal
import tempfile
import time
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lineament.cli.main import main
from lineament.data import crop_cache
from lineament.data.crop_cache import CropCache
from lineament.data.images import write_image
from lineament.data.loader import BatchStream
from lineament.data.records import Record, RecordSource
from lineament.data.registry import open_data, open_source, recognise
from lineament.data.sample import FaceSample
from lineament.errors import DataError, LineamentError
from lineament.faces.labels import FaceLabel, LabelFile, write_keypoints
from lineament.faces.schemes import scheme
from lineament.geometry.affine2d import Affine2D
from lineament.pipeline.prepare import run as module
from lineament.pipeline.prepare.options import PrepareOptions
from lineament.pipeline.prepare.run import prepare

MARKS = torch.tensor([[12.0, 14], [26, 13], [19, 20], [13, 28], [25, 27]])
OPTIONS = PrepareOptions(crop="fabrec", size=16, by="box", min_face=5)


def picture(seed: int, width: int, height: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (3, height, width), generator=generator, dtype=torch.uint8)


def make_photos(folder: Path, count: int) -> Path:
    """Photographs of several shapes in folders that repeat their names, with boxes; the third cannot be read."""
    faces = []
    for number in range(count):
        name = f"{('rot', 'grün', '三')[number % 3]}/{number // 3:03d}.png"
        write_image(folder / name, picture(number, 40 + number % 5, 60 - number % 7))
        box = torch.tensor([6.0, 5, 32, 34]) + number % 4
        faces.append(FaceLabel(name, MARKS + number % 4, box))
    (folder / "三" / "000.png").write_bytes(b"torn")
    write_keypoints(folder / "labels.json", LabelFile(scheme("5"), faces))
    return folder


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(module, "PER_SHARD", 5)
    monkeypatch.setattr(module, "CHUNK", 2)
    return make_photos(tmp_path / "photos", 13)


def files(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def same_samples(first: CropCache, second: CropCache) -> bool:
    return len(first) == len(second) and all(
        a.id == b.id and torch.equal(a.image, b.image) and torch.equal(a.box, b.box) and a.meta == b.meta
        for a, b in zip(first, second, strict=True)
    )


def test_what_a_cache_gives(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    report = prepare(open_data(photos), out, OPTIONS)
    assert report.crops == 12 and report.left_out == {"unreadable": 1}
    assert recognise(out) == "crops" and len(list((out / "shards").glob("*.tar"))) == 3
    cache, source = open_data(out), open_data(photos)
    assert isinstance(cache, CropCache) and cache.settings["size"] == 16
    originals = {source.id_of(i): i for i in range(len(source))}
    assert [s.id for s in cache] == [name for name in originals if name != "三/000.png"]
    for sample in cache:
        original = source[originals[sample.id]]
        # sqrt(2) times 16 pixels: what the networks see after random moves.
        assert sample.image.shape == (3, 23, 23)
        to_photo = Affine2D(torch.tensor(sample.meta["crop_to_photo"]))
        assert torch.allclose(to_photo.apply(sample.landmarks), original.landmarks, atol=1e-4)
        assert torch.allclose(to_photo.apply_box(sample.box), original.box, atol=1e-4)
        assert sample.scheme == "5" and sample.meta["photo"] == str(original.path)
        assert sample.meta["crop_rule"]["cut_by"] == "box"
        assert sample.meta["crop_rule"]["region"] == [-0.5, -0.5, 22.5, 22.5]
    assert same_samples(pickle.loads(pickle.dumps(cache)), cache)
    with pytest.raises(IndexError):
        cache[12]


def test_two_processes_write_what_one_writes(photos: Path, tmp_path: Path) -> None:
    for workers in (1, 2):
        prepare(open_data(photos), tmp_path / str(workers), OPTIONS, workers=workers)
    assert files(tmp_path / "1") == files(tmp_path / "2")


class Slow:
    """A source that takes its time over every photograph."""

    def __init__(self, source: RecordSource, seconds: float) -> None:
        self.source, self.seconds = source, seconds
        self.name, self.fingerprint = source.name, source.fingerprint
        self.id_of, self.digest_of = source.id_of, source.digest_of

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> FaceSample:
        time.sleep(self.seconds)
        return self.source[index]


def in_a_process(photos: Path, out: Path, seconds: float) -> BaseProcess:
    """Prepare slowly in a process of its own group, with two workers."""

    def run() -> None:
        os.setpgid(0, 0)
        torch.set_num_threads(1)
        prepare(Slow(open_data(photos), seconds), out, OPTIONS, workers=2)

    process = get_context("fork").Process(target=run)
    process.start()
    return process


def wait_for(condition: Callable[[], bool], process: BaseProcess | None = None) -> None:
    until = time.monotonic() + 60
    while not condition():
        assert process is None or process.is_alive(), "it ended before it could be killed"
        assert time.monotonic() < until, "nothing happened for a minute"
        time.sleep(0.002)


def test_killed_at_any_moment_it_goes_on(photos: Path, tmp_path: Path) -> None:
    # Two shards more than are waited for: the workers are ahead of the writer, which is done with the last at once.
    photos = make_photos(tmp_path / "more", 23)
    whole, out = tmp_path / "whole", tmp_path / "out"
    prepare(open_data(photos), whole, OPTIONS)
    shards = out / "shards"
    # In the middle of the first shard, of the first again, of the second and of the third.
    for wanted in (0, 0, 1, 2):
        run = in_a_process(photos, out, 0.05)
        wait_for(
            lambda wanted=wanted: (
                bool(list(shards.glob(".writing-*.tar")))
                and len(list(shards.glob("shard-*.parquet"))) >= wanted
            ),
            run,
        )
        os.kill(run.pid, signal.SIGKILL)
        run.join()
        assert not (out / "index.parquet").exists()
        with pytest.raises(
            DataError, match=r"the crops in .* are not complete: run `lineament data prepare`"
        ):
            open_data(out)
    report = prepare(open_data(photos), out, OPTIONS)
    assert 10 <= report.skipped < 23
    assert files(out) == files(whole)


def test_killed_while_it_repairs_and_adds(photos: Path, tmp_path: Path) -> None:
    out, whole = tmp_path / "out", tmp_path / "whole"
    prepare(open_data(photos), out, OPTIONS)
    prepare(open_data(photos), whole, OPTIONS)
    shard, place = middle_of(open_data(out), 2)
    flip(shard, place)
    for moment in (0.0, 0.02, 0.1):
        run = in_a_process(photos, out, 0.05)
        wait_for(lambda run=run: bool(list((out / "shards").glob(".writing-*"))) or not run.is_alive())
        time.sleep(moment)
        os.kill(run.pid, signal.SIGKILL)
        run.join()
    prepare(open_data(photos), out, OPTIONS)
    assert files(out) == files(whole)


def test_the_processes_of_a_killed_run_end(photos: Path, tmp_path: Path) -> None:
    run = in_a_process(photos, tmp_path / "out", 1.0)
    wait_for(lambda: bool(list((tmp_path / "out").glob("shards/.writing-*.tar"))), run)
    group = run.pid
    os.kill(group, signal.SIGKILL)
    run.join()

    def ended() -> bool:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        return False

    wait_for(ended)


def test_a_worker_that_dies_is_one_sentence(photos: Path, tmp_path: Path) -> None:
    class Deadly(Slow):
        def __getitem__(self, index: int) -> FaceSample:
            if index == 8:
                os.kill(os.getpid(), signal.SIGKILL)
            return super().__getitem__(index)

    with pytest.raises(LineamentError, match=r"one of the 2 worker processes died.*goes on where it stopped"):
        prepare(Deadly(open_data(photos), 0.0), tmp_path / "out", OPTIONS, workers=2)
    assert prepare(open_data(photos), tmp_path / "out", OPTIONS).crops == 12


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 0x10
    path.write_bytes(data)


def middle_of(cache: CropCache, index: int) -> tuple[Path, int]:
    row = cache._table.slice(index, 1).to_pylist()[0]
    return cache.root / "shards" / f"shard-{row['shard']:05d}.tar", row["offset"] + row["length"] // 2


def test_flipped_bytes_are_named_and_that_shard_alone_is_repaired(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    source = open_data(photos)
    prepare(source, out, OPTIONS)
    whole = files(out)
    times = {path: path.stat().st_mtime_ns for path in (out / "shards").iterdir()}
    shard, place = middle_of(open_data(out), 6)
    flip(shard, place)
    cache = open_data(out)
    with pytest.raises(DataError, match=r"shard-00001\.tar is damaged.*`lineament data prepare` again"):
        cache[6]
    assert cache[7].id
    assert main(["data", "check", str(out)]) == 1
    error = capsys.readouterr().err
    assert "shard-00001.tar holds other bytes than were written" in error and error.count("shard-") == 1
    assert not (out / "reject.json").exists()

    # All but the damaged crop are taken over: their photographs need not even be there any more.
    asked = []
    read = type(source).__getitem__

    class Watched(type(source)):  # type: ignore[misc]
        def __getitem__(self, index: int):
            asked.append(index)
            return read(self, index)

    source.__class__ = Watched
    report = prepare(source, out, OPTIONS)
    assert report.repaired == [str(shard)] and "repaired what was damaged" in report.summary()
    assert len(asked) == 1 and report.skipped == 12
    assert files(out) == whole
    changed = {path.name for path, seen in times.items() if path.stat().st_mtime_ns != seen}
    assert changed == {"shard-00001.tar", "shard-00001.parquet"}


@pytest.mark.parametrize("harm", ["cut", "gone", "table", "table gone", "index", "index gone", "header"])
def test_other_harm_is_one_sentence_and_repaired(photos: Path, tmp_path: Path, harm: str) -> None:
    out = tmp_path / "out"
    prepare(open_data(photos), out, OPTIONS)
    whole = files(out)
    shard = out / "shards" / "shard-00001.tar"
    table, index = shard.with_suffix(".parquet"), out / "index.parquet"
    if harm == "cut":
        shard.write_bytes(shard.read_bytes()[:2000])
        words = r"shard-00001\.tar has 2000 bytes instead of \d+: run `lineament data prepare` again"
    elif harm == "gone":
        shard.unlink()
        words = r"shard-00001\.tar is missing: run `lineament data prepare` again"
    elif harm.startswith("index"):
        flip(index, 200) if harm == "index" else index.unlink()
        words = r"index\.parquet is (missing|not what was written): run `lineament data prepare` again"
    else:
        # The tables beside the shards and the tar headers are for the preparation alone.
        words = ""
        if harm == "table":
            flip(table, 300)
        elif harm == "header":
            flip(shard, 0)
        else:
            table.unlink()
        assert len(open_data(out)) == 12
    if words:
        with pytest.raises(DataError, match=words):
            open_data(out)
    prepare(open_data(photos), out, OPTIONS)
    after = files(out)
    if harm == "table":
        # Of a table all that is used has checksums; a change elsewhere may stay.
        whole[f"shards/{table.name}"] = after[f"shards/{table.name}"]
    assert after == whole


def test_tables_that_are_damaged_are_never_believed(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    prepare(open_data(photos), out, OPTIONS)
    whole = files(out)
    table = out / "shards" / "shard-00000.parquet"
    for place in np.random.default_rng(0).integers(0, table.stat().st_size, 12):
        flip(table, int(place))
        prepare(open_data(photos), out, OPTIONS)
        assert {n: d for n, d in files(out).items() if n != "shards/shard-00000.parquet"} == {
            n: d for n, d in whole.items() if n != "shards/shard-00000.parquet"
        }, place


def test_another_crop_rule_or_size_is_refused(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    prepare(open_data(photos), out, OPTIONS)
    whole = files(out)
    for options, words in (
        (PrepareOptions(crop="box", size=16, by="box", min_face=5), "crop 'fabrec' -> 'box'"),
        (PrepareOptions(crop="fabrec", size=24, by="box", min_face=5), "size 16 -> 24"),
        (
            PrepareOptions(crop="fabrec", size=16, by="box", min_face=5, margins=(0.2, 0.12)),
            "margins None -> ",
        ),
        (PrepareOptions(crop="fabrec", size=16, by="box", min_face=5, around=0.1), "around 0 -> 2"),
    ):
        with pytest.raises(LineamentError, match=f"was prepared with other settings .*{words}.*--overwrite"):
            prepare(open_data(photos), out, options)
        assert files(out) == whole
        # Beside one another they are two caches of the same photographs.
        other = tmp_path / words
        assert prepare(open_data(photos), other, options).crops == 12
        assert open_data(other).fingerprint != open_data(out).fingerprint
    manifest = json.loads((out / "cache.json").read_text())
    (out / "cache.json").write_text(json.dumps({**manifest, "format": 9}))
    with pytest.raises(DataError, match="has format 9, this version reads 1"):
        open_data(out)
    (out / "cache.json").write_text("{")
    with pytest.raises(DataError, match=r"cache\.json is damaged .*--overwrite"):
        prepare(open_data(photos), out, OPTIONS)
    prepare(open_data(photos), out, OPTIONS, overwrite=True)
    assert files(out) == whole


def test_two_runs_at_once_are_refused(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lineament.pipeline.prepare import files as prepare_files

    monkeypatch.setattr(prepare_files, "_PATIENCE_S", 0.2)
    with (
        prepare_files.claimed(tmp_path / "out", {}, False),
        pytest.raises(LineamentError, match="another `lineament data prepare` is writing"),
    ):
        prepare(open_data(photos), tmp_path / "out", OPTIONS)


def test_a_full_disk_is_one_sentence(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    context = get_context("fork")
    said = context.SimpleQueue()

    def run() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (6000, resource.RLIM_INFINITY))
        try:
            prepare(open_data(photos), out, OPTIONS)
        except LineamentError as error:
            said.put(str(error))

    process = context.Process(target=run)
    process.start()
    process.join()
    sentence = said.get()
    assert f"cannot write the crops in {out} (File too large): free some space" in sentence
    assert "run the same command again" in sentence
    assert not list(out.rglob(".writing-*"))
    prepare(open_data(photos), out, OPTIONS)
    assert len(open_data(out)) == 12


@settings(max_examples=12, deadline=None)
@given(
    sizes=st.lists(st.tuples(st.integers(2, 70), st.integers(2, 70)), min_size=1, max_size=6),
    around=st.sampled_from([0.0, 0.3]),
    rule=st.sampled_from(["box", "fabrec"]),
    labelled=st.booleans(),
)
def test_round_trip_of_any_shapes(
    sizes: list[tuple[int, int]], around: float, rule: str, labelled: bool
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        faces = []
        for number, (width, height) in enumerate(sizes):
            file = f"{number % 2}/ü {number // 2}.png"
            write_image(folder / "photos" / file, picture(number, width, height))
            box = torch.tensor([0.1 * width, 0.2 * height, 0.8 * width, 0.9 * height]) - 0.5
            marks = box[:2] + torch.rand(5, 2) * (box[2:] - box[:2]) if labelled else None
            faces.append(FaceLabel(file, marks, box))
        write_keypoints(folder / "photos" / "labels.json", LabelFile(scheme("5"), faces))
        options = PrepareOptions(crop=rule, size=12, by="box", around=around, min_face=0.1, format="png")
        source = open_data(folder / "photos")
        assert prepare(source, folder / "out", options).crops == len(sizes)
        cache = open_data(folder / "out")
        for sample, original in zip(cache, source, strict=True):
            to_photo = Affine2D(torch.tensor(sample.meta["crop_to_photo"]))
            assert sample.id == original.id
            assert torch.allclose(to_photo.apply_box(sample.box), original.box, atol=1e-3)
            assert (sample.landmarks is not None) == labelled
            if labelled:
                assert torch.allclose(to_photo.apply(sample.landmarks), original.landmarks, atol=1e-3)
            assert sample.meta["photo_size"] == (original.image.shape[2], original.image.shape[1])


def _picture(sample: FaceSample, generator: torch.Generator) -> torch.Tensor:
    return sample.image + torch.rand(1, generator=generator)


def test_batches_do_not_depend_on_the_number_of_workers(photos: Path, tmp_path: Path) -> None:
    prepare(open_data(photos), tmp_path / "out", OPTIONS)
    cache = open_data(tmp_path / "out")
    # The first process has shards open when the others begin.
    assert cache[0].id == cache[0].id
    batches = [
        list(itertools.islice(BatchStream(cache, _picture, torch.stack, 4, 0, workers=workers), 5))
        for workers in (0, 2)
    ]
    assert all(torch.equal(first, second) for first, second in zip(*batches, strict=True))


def test_labels_of_evaluations_come_along(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", picture(0, 50, 50))
    marks = (MARKS + 5).tolist()
    record = Record(
        "a",
        tmp_path / "a.png",
        None,
        (5.0, 5, 40, 40),
        marks,
        (True, False, True, True, False),
        "Ann",
        {"subsets": ("pose", "blur"), "published_box": (1, 2, 3, 4), "state": "OH", "age": 4},
    )
    prepare(RecordSource("one", [record], "5"), tmp_path / "out", OPTIONS)
    (sample,) = open_source("crops", tmp_path / "out")
    assert sample.identity == "Ann" and sample.visibility.tolist() == [True, False, True, True, False]
    assert (
        sample.meta["subsets"] == ("pose", "blur")
        and sample.meta["state"] == "OH"
        and sample.meta["age"] == 4
    )
    # Whatever else there was lies in pixels of the photograph.
    assert "published_box" not in sample.meta


def test_rejects_and_splits(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crop_cache, "HELD_OUT", 0.5)
    out = tmp_path / "out"
    prepare(open_data(photos), out, OPTIONS)
    parts = {split: [s.id for s in open_data(out, split=split)] for split in ("all", "train", "val")}
    assert sorted(parts["train"] + parts["val"]) == sorted(parts["all"])
    (out / "reject.txt").write_text("rot/001.png\tblurred\n", encoding="utf-8")
    fewer = open_data(out)
    assert len(fewer) == 11 and fewer.rejected == {"rot/001.png": "blurred"}
    assert fewer.fingerprint != open_data(f"{out}?rejects=none").fingerprint
    (out / "reject.txt").write_text("\n".join(parts["all"]), encoding="utf-8")
    with pytest.raises(DataError, match="holds no samples after 12 on the reject list"):
        open_data(out)


def test_crops_of_an_older_version_are_named(tmp_path: Path) -> None:
    (tmp_path / "journal.jsonl").write_text("{}\n")
    with pytest.raises(DataError, match="as an older version wrote them: prepare them again"):
        open_source("crops", tmp_path)


def test_the_bench_shows_what_a_cache_saves(monkeypatch: pytest.MonkeyPatch) -> None:
    from lineament.pipeline.bench import crops, run_bench

    monkeypatch.setattr(crops, "PHOTOS", 4)
    monkeypatch.setattr(crops, "READ", 2)
    figures = run_bench("crops", threads=1, repeats=3)
    # A 1024 px JPEG against a crop of 182 px: eight times here, far more than twice anywhere.
    assert figures["cached_per_cpu_second"] > 2 * figures["decoded_per_cpu_second"]
    assert figures["prepared_per_second_1"] > 0 and 5_000 < figures["bytes_per_crop"] < 99_372

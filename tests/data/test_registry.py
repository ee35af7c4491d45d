"""Data sets by name, by folder and by what stands after --data."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest
import torch
import trees

from lineament.data.registry import open_data, open_source, parse_data, readers
from lineament.data.sample import FaceSource
from lineament.errors import DataError, UsageError


@pytest.mark.parametrize("name", sorted(readers()))
def test_every_reader_keeps_the_house_rules(name: str, tmp_path: Path) -> None:
    reader = readers()[name]
    assert reader.summary and reader.where and inspect.getdoc(reader.open)
    assert ("split" in inspect.signature(reader.open).parameters) == bool(reader.splits)
    for option in reader.options:
        assert f"{option}:" in (inspect.getdoc(reader.open) or "") or "arguments as" in (
            reader.open.__doc__ or ""
        )
    if reader.needs_root:
        with pytest.raises(UsageError, match="needs the folder"):
            open_source(name)
        with pytest.raises(DataError, match="there is no"):
            open_source(name, tmp_path / "nowhere")
        with pytest.raises(DataError):
            open_source(name, tmp_path)
    with pytest.raises(UsageError, match="unknown option"):
        open_source(name, tmp_path, colour="red")
    with pytest.raises(UsageError, match="unknown split" if reader.splits else "has no splits"):
        open_source(name, tmp_path, split="trane")


def test_unknown_words_name_the_nearest() -> None:
    with pytest.raises(UsageError, match="unknown data set 'celebs': did you mean 'celeba'"):
        open_source("celebs")
    with pytest.raises(UsageError, match="did you mean 'celeba'"):
        open_data("celebs:/data")
    with pytest.raises(DataError, match="no folder or data set '/data/none'"):
        open_data("/data/none")


def test_names_folders_and_options_after_data(tmp_path: Path) -> None:
    trees.make_celeba(tmp_path / "c")
    source = open_data(f"celeba:{tmp_path / 'c'}?split=val&subset=true")
    assert isinstance(source, FaceSource) and source.name == "celeba/val"
    request = parse_data("synthetic?count=7&size=32&head=builtin")
    assert request.arguments == {"count": 7, "size": 32, "head": "builtin", "split": "all"}
    with pytest.raises(UsageError, match="not option=value"):
        open_data("synthetic?count")
    trees.save_picture(tmp_path / "photos" / "a.png", 8, 8)
    assert open_data(tmp_path / "photos")[0].id == "a.png"
    # A folder that bears the name of a reader is still a folder.
    trees.save_picture(tmp_path / "mafl" / "b.png", 8, 8)
    assert parse_data(f"folder:{tmp_path / 'mafl'}").reader.name == "folder"
    assert parse_data(tmp_path / "mafl").reader.name == "folder"


def test_synthetic_faces_by_name() -> None:
    source = open_data("synthetic?count=3&size=32")
    other = open_data("synthetic?count=3&size=32&split=val")
    assert len(source) == 3 and source[0].image.shape == (3, 32, 32) and source[0].scheme == "68"
    assert source.fingerprint != other.fingerprint and not torch.equal(source[0].image, other[0].image)


def test_a_folder_of_synthetic_faces(tmp_path: Path) -> None:
    from lineament.cli.main import main

    out = tmp_path / "faces"
    arguments = ["data", "synth", "--out", str(out), "--count", "24", "--size", "24", "--workers", "1"]
    assert main([*arguments, "--identities", "12"]) == 0
    source = open_data(out)
    assert len(source) == 24 and source[0].scheme == "68" and source[0].camera is not None
    people = {
        split: {s.identity for s in open_data(out, split=split)}
        for split in ("train", "val", "test")
        if _holds(out, split)
    }
    assert (
        sum(map(len, people.values()))
        == len(set.union(*people.values()))
        == len({s.identity for s in source})
    )
    assert len(open_data(f"{out}?count=5")) == 5
    with pytest.raises(UsageError, match="drawn already: leave size out"):
        open_data(f"{out}?size=32")
    (out / "reject.txt").write_text(f"{source[3].id}\n")
    fewer = open_data(out)
    assert len(fewer) == 23 and fewer[3].id == source[4].id and fewer.fingerprint != source.fingerprint


def _holds(out: Path, split: str) -> bool:
    """Twelve people may leave a tenth empty, which is an error of its own."""
    try:
        return len(open_data(out, split=split)) > 0
    except DataError as error:
        assert "no faces in its split" in str(error)
        return False

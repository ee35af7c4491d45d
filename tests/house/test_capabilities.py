"""Verbs, evaluation and inference know capabilities, and no method by name."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
import torch

import lineament
from lineament import capabilities
from lineament.capabilities import (
    Codes,
    DenseDescriptor,
    LandmarkPredictor,
    Landmarks,
    capability,
    check_float32,
    words_of,
)
from lineament.errors import UsageError
from lineament.faces.schemes import scheme

SOURCE = Path(lineament.__file__).parent
# What tells methods apart by their names instead of asking what they can do.
BY_NAME = re.compile(
    r"""(\.method|\bmethod|\.recipe|\bfamily|\.base)\s*(==|!=|(not\s+)?in\b)\s*[(\[{]?\s*["']\w"""
    r"""|(recipe|method)\.startswith\(|FAMILIES"""
)
ROOMS = ("pipeline", "evaluation", "cli", "inference.py", "capabilities.py")


def test_no_room_below_or_above_the_methods_tells_them_apart_by_name():
    files = [file for room in ROOMS for file in sorted((SOURCE / room).rglob("*.py") or [SOURCE / room])]
    files += [SOURCE / room for room in ROOMS if room.endswith(".py")]
    assert len(files) > 80
    found = [
        f"{file.relative_to(SOURCE)}:{number}: {line.strip()}"
        for file in files
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
        if BY_NAME.search(line)
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "line",
    [
        'if opened.method != "dve":',
        'if run.method not in ("dve", "fabrec"):',
        'if opened.recipe.startswith("dve-landmarks"):',
        'if method == "fabrec":',
        'return self.base != "dve"',
        "FAMILIES = {",
    ],
)
def test_what_was_there_before_would_be_found(line: str):
    assert BY_NAME.search(line)


def test_evaluation_and_inference_import_no_method():
    for file in [*(SOURCE / "evaluation").glob("*.py"), SOURCE / "inference.py", SOURCE / "capabilities.py"]:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [node.module] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert not [name for name in names if name and name.startswith("lineament.methods")], file


class Middle:
    """Landmarks in the middle of every box."""

    scheme = scheme("5")

    def landmarks(self, image: torch.Tensor, boxes: torch.Tensor) -> Landmarks:
        middle = 0.5 * (boxes[:, :2] + boxes[:, 2:])
        return Landmarks(middle[:, None].expand(-1, 5, -1), torch.ones(len(boxes), 5))


class Headset:
    """A code encoder, as a later method will bring it."""

    cameras = ("left", "right", "mouth")

    def codes(self, images: torch.Tensor) -> Codes:
        return Codes(images.mean((1, 2, 3, 4))[:, None], torch.zeros(len(images), 6))


def test_a_predictor_needs_nothing_but_what_its_protocol_asks():
    model = Middle()
    assert capability(model, LandmarkPredictor, "the run x") is model
    assert capability(Headset(), capabilities.CodeEncoder, "the run y").cameras[2] == "mouth"
    assert words_of(model) == "landmarks" and words_of(Headset()) == "expression codes"


def test_a_missing_capability_is_one_sentence_with_a_way_out():
    with pytest.raises(
        UsageError, match=r"the run x holds landmarks, no dense descriptors: .*lineament recipes"
    ):
        capability(Middle(), DenseDescriptor, "the run x")
    with pytest.raises(UsageError, match=r"no dense descriptors: ask a friend\.$"):
        capability(Middle(), DenseDescriptor, "the run x", hint="ask a friend")

    class Advised(Middle):
        holds = "marks without dense descriptors"
        hints = {"DenseDescriptor": "train on {run}"}  # noqa: RUF012

    with pytest.raises(
        UsageError, match=r"^the run x holds marks without dense descriptors: train on runs/x\.$"
    ):
        capability(Advised(), DenseDescriptor, "the run x", "runs/x", "ask a friend")


def test_a_number_type_that_cannot_be_computed_in_is_refused():
    check_float32(None, "a thing")
    check_float32(torch.float32, "a thing")
    with pytest.raises(
        UsageError, match=r"a thing computes in float32 alone, not in bfloat16: leave --bf16 out"
    ):
        check_float32(torch.bfloat16, "a thing")

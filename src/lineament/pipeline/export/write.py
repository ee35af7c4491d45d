"""Writes a network as ONNX, or as a program of torch.export, and runs it once before it is called done."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lineament.capabilities import PlainNetwork
from lineament.errors import LineamentError, UsageError
from lineament.files import replacing
from lineament.pipeline.export.plain import (
    FACTS,
    as_tuple,
    example_inputs,
    facts_text,
    largest_differences,
)

# Version of ONNX's operators, of October 2023: what onnxruntime 1.17 and later run, in browsers too.
OPSET = 20
# How far outputs of the written file may lie from the network's own, in shares of their range.
TOLERANCE = 1e-4
# Batches that the written file is tried with; the graph is made from the last, as a size of 1 is taken for fixed.
BATCHES = (1, 3)


def write_onnx(plain: PlainNetwork, path: Path, facts: Mapping[str, Any]) -> list[float]:
    """Write a network as one ONNX file and compare what onnxruntime makes of it.

    Args:
        plain: The network.
        path: The file; replaced only by one that was compared.
        facts: Kept in its metadata under ``lineament``, as JSON.

    Returns:
        Largest difference of each output from torch's on random inputs, in shares of its range.

    Raises:
        UsageError: If the extra `export` is not installed.
        LineamentError: If the network cannot be written, or does not compute the same.
    """
    onnx, runtime = _libraries()
    example = example_inputs(plain, BATCHES[-1])
    with _quiet(), _said(f"{path}: the network cannot be written as ONNX"), torch.no_grad():
        program = torch.onnx.export(
            plain.network,
            example,
            dynamo=True,
            input_names=list(plain.inputs),
            output_names=list(plain.outputs),
            dynamic_shapes=_dynamic(plain),
            opset_version=OPSET,
            external_data=False,
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    onnx.helper.set_model_props(model, {FACTS: facts_text(facts)})
    model.producer_name = "lineament"
    with replacing(path) as temporary:
        temporary.write_bytes(model.SerializeToString())
        options = runtime.SessionOptions()
        options.log_severity_level = 3
        session = runtime.InferenceSession(str(temporary), options, providers=["CPUExecutionProvider"])

        def run(inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            fed = {name: each.numpy() for name, each in zip(plain.inputs, inputs, strict=True)}
            return tuple(torch.from_numpy(each) for each in session.run(list(plain.outputs), fed))

        return _compared(plain, run, path)


def write_pt2(plain: PlainNetwork, path: Path, facts: Mapping[str, Any]) -> list[float]:
    """Write a network as a program of :mod:`torch.export` (``.pt2``); as :func:`write_onnx`.

    Raises:
        LineamentError: If the network cannot be written, or does not compute the same.
    """
    example = example_inputs(plain, BATCHES[-1])
    with _quiet(), _said(f"{path}: the network cannot be written as a program of torch"), torch.no_grad():
        program = torch.export.export(plain.network, example, dynamic_shapes=_dynamic(plain))
    with replacing(path) as temporary:
        buffer = io.BytesIO()
        with _quiet():
            torch.export.save(program, buffer, extra_files={FACTS: facts_text(facts)})
        temporary.write_bytes(buffer.getvalue())
        buffer.seek(0)
        with _quiet():
            module = torch.export.load(buffer).module()
        return _compared(plain, lambda inputs: as_tuple(module(*inputs)), path)


def _compared(plain: PlainNetwork, run: Any, path: Path) -> list[float]:
    worst = [0.0] * len(plain.outputs)
    for number, batch in enumerate(BATCHES):
        inputs = example_inputs(plain, batch, seed=number + 1)
        with torch.no_grad():
            wanted = as_tuple(plain.network(*inputs))
        with _said(f"{path}: the written network does not run on a batch of {batch}"):
            differences = largest_differences(run(inputs), wanted)
        worst = [max(pair) for pair in zip(worst, differences, strict=True)]
    for name, difference in zip(plain.outputs, worst, strict=True):
        # Of peaks on noise, which network does what first means nothing; the maps themselves are compared.
        if name not in plain.jumping and not difference <= TOLERANCE:
            raise LineamentError(
                f"{path}: the output {name} differs from torch's by {difference:.2g} of its range ({TOLERANCE:g} are "
                "allowed); nothing was written: another version of torch, onnx or onnxruntime may do better."
            )
    return worst


def _dynamic(plain: PlainNetwork) -> tuple[dict[int, Any], ...]:
    """What varies of each input, for torch.export."""
    sizes: dict[str, Any] = {}
    for shape in plain.inputs.values():
        for each in shape:
            if isinstance(each, str) and each not in sizes:
                step = plain.multiples.get(each, 1)
                whole = torch.export.Dim(f"{each}_{step}" if step > 1 else each, min=1, max=1 << 14)
                sizes[each] = step * whole if step > 1 else whole
    return tuple(
        {place: sizes[each] for place, each in enumerate(shape) if isinstance(each, str)}
        for shape in plain.inputs.values()
    )


def _libraries() -> tuple[Any, Any]:
    """The libraries of ONNX files and of running them; torch's exporter needs a third one."""
    try:
        import onnx
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UsageError(
            f"writing ONNX needs {error.name}, which is not installed: pip install 'lineament[export]'."
        ) from error
    return onnx, onnxruntime


@contextlib.contextmanager
def _said(what: str) -> Iterator[None]:
    """Turn whatever torch says of a network that it cannot write into one sentence."""
    try:
        yield
    except Exception as error:
        words = str(error).strip().splitlines()
        raise LineamentError(f"{what}: {words[0] if words else type(error).__name__}.") from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's notes of libraries that it does not find and of its own future."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)

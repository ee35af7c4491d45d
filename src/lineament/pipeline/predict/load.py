"""Loads a trained run as something that can be called with a photograph."""

from __future__ import annotations

from pathlib import Path

import torch

from lineament.errors import CheckpointError, UsageError
from lineament.pipeline.predict.models import DescriptorModel, LandmarkModel
from lineament.pipeline.predict.models_fabrec import FabrecModel
from lineament.training.run import open_run


def load(
    run: str | Path, device: str = "cpu", *, detector: str = "mtcnn", bf16: bool = False
) -> DescriptorModel:
    """Load a trained run.

    Args:
        run: Run directory of ``lineament train`` or ``lineament import``.
        device: Where the networks run, ``cpu`` or ``cuda``.
        detector: Finds faces in photographs, ``mtcnn`` or ``lbp``.
        bf16: Compute heatmaps of fabrec in bfloat16.

    Returns:
        For a run of ``dve-landmarks`` or ``fabrec-landmarks`` a :class:`LandmarkModel`, whose
        ``model("photo.jpg")[0].landmarks`` are in the photograph's pixels; for descriptor runs a
        :class:`DescriptorModel`.

    Raises:
        LineamentError: If there is no such run.
        CheckpointError: If its checkpoint is damaged or of a method that answers no photographs.
        UsageError: If the device is not there, or bfloat16 is asked of another method.
    """
    from lineament.methods import register_all

    register_all()
    opened = open_run(run)
    if opened.method not in ("dve", "fabrec"):
        raise CheckpointError(
            f"the run {opened.folder} is of the method {opened.method!r}, which cannot do this: give a run of dve "
            "or fabrec."
        )
    if device not in ("cpu", "cuda") or (device == "cuda" and not torch.cuda.is_available()):
        raise UsageError(f"the device {device!r} is not there: use cpu, or cuda on a machine that has it.")
    if opened.method == "fabrec":
        return FabrecModel(opened, device, detector, bf16)
    if bf16:
        raise UsageError(f"bf16 is for fabrec-landmarks, not for {opened.recipe}.")
    # The published regressors have recipes of their own: dve-landmarks-mafl and so on.
    model = LandmarkModel if opened.recipe.startswith("dve-landmarks") else DescriptorModel
    return model(opened, device, detector)


def load_landmarks(
    run: str | Path, device: str = "cpu", *, detector: str = "mtcnn", bf16: bool = False
) -> LandmarkModel:
    """Load a run that must predict landmarks; see :func:`load`.

    Raises:
        UsageError: If the run has descriptors only.
    """
    model = load(run, device, detector=detector, bf16=bf16)
    if not isinstance(model, LandmarkModel):
        model(torch.zeros(3, 1, 1))
    assert isinstance(model, LandmarkModel)
    return model

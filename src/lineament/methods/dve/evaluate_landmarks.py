"""Landmark error in the published protocol: labelled pictures cut as published, the error in % of the eye distance."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from lineament.data.sample import FaceSource
from lineament.errors import UsageError
from lineament.faces.schemes import convert_points
from lineament.methods.dve.frame import Frame
from lineament.methods.dve.model import describe
from lineament.methods.dve.protocol import get_protocol, plain_view, published_face
from lineament.methods.dve.regressor import to_unit
from lineament.metrics.card import MetricCard
from lineament.metrics.landmark import inter_ocular, normalised_errors

# Pictures described at a time.
BATCH = 32


@torch.no_grad()
def published_landmark_errors(
    networks: dict[str, nn.Module],
    source: FaceSource,
    frame: Frame,
    indices: Iterable[int] | None = None,
    layout: str | None = None,
) -> Tensor:
    """Mean error of every picture, in distances between its labelled eye points.

    Both predictions and labels are in -1..1 of the cropped picture, as published; for square pictures the quotient is
    that of pixels.

    Args:
        networks: ``descriptor`` and ``regressor``.
        source: Whole pictures with as many landmarks as the protocol has.
        frame: Size, crop and protocol.
        indices: Which samples; all when None.
        layout: Scheme of the predictions where it is another than that of the labels; they are converted.

    Returns:
        ``[N]``.

    Raises:
        UsageError: If the frame names no protocol, or the predictions cannot be converted.
        DataError: If a picture or its labels are not what the protocol needs.
    """
    if not frame.protocol:
        raise UsageError(
            "the published landmark error needs the protocol of the data: celeba, aflw-m, aflw-r or 300w."
        )
    eyes = get_protocol(frame.protocol).eyes
    chosen = list(range(len(source)) if indices is None else indices)
    descriptor, regressor = networks["descriptor"].eval(), networks["regressor"].eval()
    device = next(descriptor.buffers()).device
    errors = []
    for start in range(0, len(chosen), BATCH):
        samples = [source[index] for index in chosen[start : start + BATCH]]
        faces = [published_face(sample, frame.protocol, frame.size) for sample in samples]
        views = [plain_view(face, frame.crop) for face in faces]
        images = torch.stack([image for image, _ in views])
        truth = to_unit(torch.stack([points for _, points in views]), frame.seen, frame.seen)
        predicted = regressor(describe(descriptor, images.to(device)))[0].cpu()
        if layout is not None:
            rows = zip(predicted, samples, strict=True)
            predicted = torch.stack(
                [convert_points(row, layout, sample.scheme or layout) for row, sample in rows]
            )
        errors.append(
            normalised_errors(predicted, truth, inter_ocular(truth, eyes), torch.isfinite(truth).all(-1))
        )
    return torch.cat(errors)


def published_landmark_card(
    networks: dict[str, nn.Module],
    source: FaceSource,
    frame: Frame,
    indices: Iterable[int] | None = None,
    layout: str | None = None,
) -> MetricCard:
    """Card of :func:`published_landmark_errors`: the mean over points and pictures in %."""
    errors = published_landmark_errors(networks, source, frame, indices, layout)
    left, right = get_protocol(frame.protocol).eyes
    return MetricCard(
        name="landmark error, published protocol",
        value=float(100 * errors.mean()),
        unit="% of inter-ocular distance",
        definition="mean distance of predicted and true points, divided by the distance of the true eye points",
        protocol=f"published preprocessing {frame.protocol}, {frame.size} px, {frame.crop} px cut off each side; mean "
        "over points and pictures",
        count=len(errors),
        seed=None,
        data=source.name,
        fingerprint=source.fingerprint,
        normaliser=f"distance of the true points {left} and {right}",
        deviation=float(100 * errors.std(correction=0)),
        deviation_over="samples",
    )

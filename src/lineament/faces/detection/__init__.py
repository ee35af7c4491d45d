"""Face detection with no download: YuNet (``yunet``), MTCNN (``mtcnn``) and scikit-image's LBP cascade (``lbp``)."""

from lineament.faces.detection import lbp as _lbp
from lineament.faces.detection import mtcnn as _mtcnn
from lineament.faces.detection import yunet as _yunet
from lineament.faces.detection.base import (
    Detection,
    Detector,
    Traits,
    detectors,
    least_score,
    main_face,
    make_detector,
    register_detector,
    traits_of,
)
from lineament.faces.detection.search import detect_faces, turned_upright
from lineament.faces.detector_options import DEFAULT_DETECTOR, Upright

# Importing the modules registers them.
_BUILT_IN = (_lbp, _mtcnn, _yunet)

__all__ = [
    "DEFAULT_DETECTOR",
    "Detection",
    "Detector",
    "Traits",
    "Upright",
    "detect_faces",
    "detectors",
    "least_score",
    "main_face",
    "make_detector",
    "register_detector",
    "traits_of",
    "turned_upright",
]

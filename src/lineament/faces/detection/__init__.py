"""Face detection with no download: the MTCNN cascade (``mtcnn``) and scikit-image's LBP cascade (``lbp``)."""

from lineament.faces.detection import lbp as _lbp
from lineament.faces.detection import mtcnn as _mtcnn
from lineament.faces.detection.base import (
    Detection,
    Detector,
    detectors,
    main_face,
    make_detector,
    register_detector,
)
from lineament.faces.detection.search import Upright, detect_faces, turned_upright

# Importing the two modules registers them.
_BUILT_IN = (_lbp, _mtcnn)

__all__ = [
    "Detection",
    "Detector",
    "Upright",
    "detect_faces",
    "detectors",
    "main_face",
    "make_detector",
    "register_detector",
    "turned_upright",
]

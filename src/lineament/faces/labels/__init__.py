"""Label files: landmarks of our own and of the tools that people label with, read and written.

Each format has one small file: our own JSON (``own_json``), CSV (``table``), PTS (``pts``), COCO (``coco``), CVAT
(``cvat``), labelme (``labelme``), dlib (``dlib``), and plain lists of LaPa, JD-landmark and WFLW (``lists``).
``reading`` finds the format by the content of the file, ``writing`` writes four of them. Inside the package the middle
of the first pixel is 0; what each tool calls it is in :mod:`lineament.faces.labels.formats`.
"""

from lineament.faces.labels.reading import read_keypoints
from lineament.faces.labels.record import FaceLabel, LabelFile, faces_of, in_scheme
from lineament.faces.labels.writing import write_keypoints

__all__ = ["FaceLabel", "LabelFile", "faces_of", "in_scheme", "read_keypoints", "write_keypoints"]

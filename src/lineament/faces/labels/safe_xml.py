"""XML of other people: elements, attributes and text; a document type is refused, and with it every entity.

Entities are how a small file unpacks to any amount of memory or reads other files; no labelling tool writes them.
"""

from __future__ import annotations

from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from lineament.errors import DataError


def parse_xml(data: bytes) -> Element:
    """Parse a document.

    Raises:
        DataError: If it is not well formed, or declares a document type.
    """
    builder = TreeBuilder()
    parser = expat.ParserCreate()
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = _refuse
    parser.EntityDeclHandler = _refuse
    try:
        parser.Parse(data, True)
        return builder.close()
    except (expat.ExpatError, ValueError, LookupError, AssertionError) as error:
        # An unknown encoding and a document without an element come as the last two.
        raise DataError(f"not an XML file ({error}).") from error


def _refuse(*declaration: object) -> None:
    raise DataError(
        "it declares a document type (<!DOCTYPE ...>), which no labelling tool writes: remove it."
    )

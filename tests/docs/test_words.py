"""The documents use the field's words, one for each thing."""

from __future__ import annotations

import re

import pytest
from tests.docs.documents import DOCUMENTS, Document

each_document = pytest.mark.parametrize(
    "document", [Document(path) for path in DOCUMENTS], ids=lambda each: each.name
)

# What the headings of every method's page are called elsewhere: Differences from the paper, Reproducing the numbers,
# Limits.
PRIVATE_HEADINGS = {"Faithful and not", "Faithful and default", "Shown by", "What it is not", "Parity"}
# Word -> what the field says.
PRIVATE_WORDS = {"pictures?": "image", "photographs?": "photo", "lattices?": "feature grid"}
# They still speak the words of the code that they describe.
UNCHANGED = {"docs/labels.md", "docs/methods/fabrec.md"}


@each_document
def test_headings_are_the_fields_own(document: Document):
    titles = set(re.findall(r"^#+ (.*)$", document.prose, flags=re.M))
    assert not titles & PRIVATE_HEADINGS


@each_document
def test_one_word_for_one_thing(document: Document):
    if document.name in UNCHANGED:
        pytest.skip("still speaks the words of the code")
    sentences = re.sub(r"`[^`]*`|\]\([^)]*\)", " ", document.prose)
    for word, instead in PRIVATE_WORDS.items():
        found = re.findall(rf".*\b{word}\b.*", sentences, flags=re.I)
        assert not found, f"say {instead}: {found}"

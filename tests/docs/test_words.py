"""The documents and the source use the field's words, one for each thing."""

from __future__ import annotations

import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.docs.documents import DOCUMENTS, PACKAGE, Document

each_document = pytest.mark.parametrize(
    "document", [Document(path) for path in DOCUMENTS], ids=lambda each: each.name
)
ROOMS = sorted({path.relative_to(PACKAGE).parts[0] for path in PACKAGE.rglob("*.py")})

# What the headings of every method's page are called elsewhere: Differences from the paper, Reproducing the numbers,
# Limits.
PRIVATE_HEADINGS = {"Faithful and not", "Faithful and default", "Shown by", "What it is not", "Parity"}
# Word -> what the field says.
PRIVATE_WORDS = {
    r"pictures?": "image",
    r"photographs?": "photo, or image",
    r"lattices?": "grid",
    r"(?<!standard )(?<!absolute )deviations?": "standard deviation (std)",
}
# In documents a deviation may also be one from a paper.
DOCUMENT_WORDS = {word: instead for word, instead in PRIVATE_WORDS.items() if "deviation" not in word}
# Text -> why it stays.
ALLOWED = {
    "pictures_out": "the flag --pictures-out, which users' scripts hold",
    "--pictures-out": "the flag itself",
    "pictures.json": "the file beside the images of --pictures-out, which users' programs read",
    '"pictures"': "a key in pictures.json",
    '"photographs"': "a key in cache.json of every cache of crops",
    '"picture"': "a key in files beside a model's figures, and a line of what an import found",
}


@each_document
def test_headings_are_the_fields_own(document: Document):
    titles = set(re.findall(r"^#+ (.*)$", document.prose, flags=re.M))
    assert not titles & PRIVATE_HEADINGS


@each_document
def test_one_word_for_one_thing(document: Document):
    sentences = re.sub(r"`[^`]*`|\]\([^)]*\)", " ", document.prose)
    for word, instead in DOCUMENT_WORDS.items():
        found = re.findall(rf".*\b{word}\b.*", sentences, flags=re.I)
        assert not found, f"say {instead}: {found}"


def private_words(text: str) -> list[str]:
    """The private words of a piece of source, each with what to say; words inside identifiers count."""
    for allowed in ALLOWED:
        text = text.replace(allowed, " ")
    words = re.sub(r"_+", " ", re.sub(r"\s+#?\s*", " ", text))
    return [
        f"{found}: say {instead}"
        for word, instead in PRIVATE_WORDS.items()
        for found in re.findall(rf"\b{word}\b", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", words), flags=re.I)
    ]


def pieces(path: Path) -> Iterator[tuple[int, str]]:
    """Line and text of every identifier, string (docstrings too) and block of comments of a file."""
    comments: list[tokenize.TokenInfo] = []
    with path.open(encoding="utf-8") as file:
        for token in tokenize.generate_tokens(file.readline):
            if token.type == tokenize.COMMENT:
                comments.append(token)
            elif token.type != tokenize.NL and comments:
                yield comments[0].start[0], "\n".join(each.string for each in comments)
                comments = []
            if token.type in (tokenize.NAME, tokenize.STRING):
                yield token.start[0], token.string


@pytest.mark.parametrize("room", ROOMS)
def test_the_source_says_the_fields_words(room: str):
    place = PACKAGE / room
    found = [
        f"{path.relative_to(PACKAGE)}:{line}: {word}"
        for path in ([place] if place.is_file() else sorted(place.rglob("*.py")))
        for line, text in pieces(path)
        for word in private_words(text)
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "source",
    [
        "class Picture: ...",
        "old_pictures = 1",
        "# the standard error and\n# the deviation\n",
        "'''A lattice.'''",
        "f'{1} photograph'",
    ],
)
def test_private_words_are_found_in_every_kind_of_piece(source: str, tmp_path: Path):
    path = tmp_path / "one.py"
    path.write_text(source)
    assert [word for _, text in pieces(path) for word in private_words(text)]
    path.write_text("pictures_out = 1\n# one standard\n# deviation of the photographed image\n")
    assert not [word for _, text in pieces(path) for word in private_words(text)]

"""Prints the covered share of lines and branches of each room and fails where one is too low (`make coverage`)."""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path

LEAST = 85.0


def room_of(path: str) -> str:
    """First folder below the package; a method is a room of its own, a single file belongs to the ground floor."""
    parts = Path(path).parts[Path(path).parts.index("lineament") + 1 :]
    if len(parts) == 1:
        return "(ground floor)"
    return "/".join(parts[:2]) if parts[0] == "methods" and len(parts) > 2 else parts[0]


def by_room(report: dict[str, object]) -> dict[str, tuple[int, int]]:
    """Covered and all lines and branches of each room."""
    rooms: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for path, file in report["files"].items():  # type: ignore[attr-defined]
        summary = file["summary"]
        rooms[room_of(path)][0] += summary["covered_lines"] + summary["covered_branches"]
        rooms[room_of(path)][1] += summary["num_statements"] + summary["num_branches"]
    return {room: (covered, every) for room, (covered, every) in sorted(rooms.items())}


def main(path: Path) -> int:
    """Print a table; return 1 where a room is below the least share."""
    low = []
    for room, (covered, every) in by_room(json.loads(path.read_text())).items():
        share = 100.0 * covered / max(1, every)
        print(f"{room:24} {share:5.1f} %  of {every}")
        if share < LEAST:
            low.append(room)
    if low:
        print(f"below {LEAST:.0f} %: {', '.join(low)}")
    return bool(low)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))

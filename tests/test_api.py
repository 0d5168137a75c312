"""The public names and their signatures, as recorded: a change of them is a decision that CHANGELOG states.

python tests/test_api.py    writes the record anew
"""

import inspect
import re
from pathlib import Path

import pushforward as pf

RECORD = Path(__file__).parent / "recorded" / "api.txt"


def described(name):
    """One line for a public name: its kind, and how it is called."""
    value = getattr(pf, name)
    if isinstance(value, dict):
        return f"{name}: registry of {', '.join(sorted(value))}"
    if not callable(value):
        return f"{name}: {type(value).__name__}"
    kind = "class" if inspect.isclass(value) else "function"
    try:
        return re.sub(r" at 0x\w+", "", f"{name}: {kind} {inspect.signature(value)}")
    except ValueError:
        return f"{name}: {kind}"


def lines():
    return [described(name) for name in sorted(pf.__all__) if name != "__version__"]


def test_public_names_and_signatures_are_those_on_record():
    recorded = RECORD.read_text().splitlines()
    now = lines()
    assert now == recorded, "\n".join(
        [f"- {x}" for x in recorded if x not in now] + [f"+ {x}" for x in now if x not in recorded]
    )


def test_every_room_is_reachable_whatever_was_imported_before():
    rooms = {file.stem for file in Path(pf.__file__).parent.glob("[a-z]*")} - {"py"}
    for room in sorted(rooms):
        assert getattr(pf, room) is not None and room in dir(pf)


if __name__ == "__main__":
    RECORD.write_text("\n".join(lines()) + "\n")

"""The catalogue of mistakes, each written once (`mistakes.toml`), as a change to our own lines.

`MISTAKES` are seen by the kit: their answers to the cases are computed, stored in `mistakes.json`, and looked up when
an implementation gives them.  `UNSEEN` are made where the kit does not ask.  Every mistake names its `killer`, the
property test that must turn red when the change is made; `tests/test_mutants.py` makes them all.  A text to be replaced
must occur exactly once in its file, so a mistake that no longer fits the source is an error.

`CHOICES_AS_CHANGES` are the other readings that an adapter may declare; undeclared they are mistakes like the others.
`REWRITES` change the text and not the mathematics: every case must let them pass.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import NamedTuple

from .variants import Edit


class Mistake(NamedTuple):
    """One entry of the catalogue; `mistakes.toml` says what the fields are."""

    id: str
    says: str
    edits: tuple[Edit, ...]
    look: str = ""
    choice: tuple[str, str] | None = None
    killer: str = ""
    pytorch: tuple[Edit, ...] = ()
    names: tuple[str, ...] = ()
    unseen: bool = False

    @property
    def title(self) -> str:
        return self.id.replace("-", " ")


def _tuples(value):
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


_READ = tomllib.loads(Path(__file__).with_name("mistakes.toml").read_text(encoding="utf-8"))
REWRITES = {name: _tuples(found) for name, found in _READ.pop("rewrites").items()}
"""{name: edits} of changes that every case must let pass."""
_EVERY = [Mistake(id, **{name: _tuples(part) for name, part in entry.items()}) for id, entry in _READ.items()]
MISTAKES = [m for m in _EVERY if not m.unseen]
UNSEEN = [m for m in _EVERY if m.unseen]
CATALOGUE = [*MISTAKES, *UNSEEN]
BY_ID = {m.id: m for m in MISTAKES}
CHOICES_AS_CHANGES = {m.choice: m for m in MISTAKES if m.choice}

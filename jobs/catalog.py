"""The models that can be asked for: those in the model repository and those that were imported, each with the
directions that the tenant added to it.

Read from their cards, which are JSON, so the gateway knows what a model can do without loading it. Names in
the repository come first; an import may not take one of them.
"""

import json
import logging
import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from jobs import dataset_fit, fit
from jobs.cards import Card, did_you_mean, read_member
from jobs.errors import NotFound, UnknownModel
from jobs.schemas import DatasetRequest, JobRequest
from jobs.store import DirectionSetRow, JobStore

log = logging.getLogger(__name__)
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


class Catalog:
    def __init__(self, model_repo: Path, store: JobStore) -> None:
        self._repo = model_repo
        self._store = store
        # by name: what the files looked like, and the card; None for one that is broken
        self._read: dict[str, tuple[object, Card | None]] = {}

    def list(self, tenant: str) -> list[Card]:
        """By name."""
        cards = {row.name: _card(row.card) for row in self._store.list_models(tenant)}
        for path in sorted(self._repo.glob("*/card.json")):
            name = path.parent.name
            cards.pop(name, None)
            if (card := self._shipped(name)) is not None:
                cards[name] = card
        sets = defaultdict[str, list[DirectionSetRow]](list)
        for found in self._store.list_directions(tenant):
            sets[found.model].append(found)
        return [_with_sets(cards[name], sets[name]) for name in sorted(cards)]

    def get(self, tenant: str, name: str) -> Card:
        """Raises UnknownModel."""
        if _NAME.fullmatch(name):
            card = self._shipped(name) if self.ships(name) else self._imported(tenant, name)
            if card is not None:
                return _with_sets(card, self._store.list_directions(tenant, name))
        known = [card.name for card in self.list(tenant)]
        raise UnknownModel(f"There is no model {name[:64]!r}.{did_you_mean(name, known)}")

    def check(self, request: JobRequest, card: Card) -> None:
        """Raises BadRequest, or a kind of it, unless the model can do what is asked."""
        if isinstance(request, DatasetRequest):
            dataset_fit.check(request, card)
        else:
            fit.check(request, card)

    def ships(self, name: str) -> bool:
        """Whether the model repository has it."""
        return (self._repo / name / "card.json").is_file()

    def _imported(self, tenant: str, name: str) -> Card | None:
        try:
            return _card(self._store.get_model(tenant, name).card)
        except NotFound:
            return None

    def _shipped(self, name: str) -> Card | None:
        """None, and a line in the log, when the card cannot be used: the other models can."""
        folder = self._repo / name
        files = [folder / "card.json", *sorted(folder.glob("directions/*.json"))]
        look = [(path, path.stat().st_mtime_ns) for path in files]
        known = self._read.get(name)
        if known is None or known[0] != look:
            known = self._read[name] = (look, _usable(folder))
        return known[1]


def read_folder(folder: Path) -> dict[str, Any]:
    """The card of a model folder as a dictionary, with all directions that lie beside it."""
    card: dict[str, Any] = json.loads((folder / "card.json").read_text())
    sets = sorted(folder.glob("directions/*.json"))
    card["directions"] = [direction for path in sets for direction in _directions(path)]
    return card


def _usable(folder: Path) -> Card | None:
    try:
        return _card(read_folder(folder))
    except (ValueError, KeyError, TypeError) as error:
        log.error("%s is left out: %s", folder, error)
        return None


def _directions(path: Path) -> list[dict[str, Any]]:
    found = json.loads(path.read_text())
    return [{"set": path.stem, "method": found.get("method")} | entry for entry in found["directions"]]


def _with_sets(card: Card, sets: Iterable[DirectionSetRow]) -> Card:
    """With the tenant's own directions, except those whose names a newer version of the model brought."""
    known = {direction.name for direction in card.directions}
    added = [
        read_member.validate_python(entry | {"set": found.name, "model_sha256": found.model_sha256})
        for found in sets
        for entry in found.listing
        if entry["name"] not in known
    ]
    return card.model_copy(update={"directions": (*card.directions, *added)}) if added else card


def _card(found: dict[str, Any]) -> Card:
    try:
        return Card.model_validate(found)
    except ValidationError as error:
        raise ValueError(f"the card of model {found.get('name')!r} is not right: {error}") from error

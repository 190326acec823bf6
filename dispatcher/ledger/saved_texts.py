"""The texts that are kept under a name, and those of a campaign that says different things to different people."""

from dataclasses import dataclass
from datetime import datetime

from dispatcher.errors import UsageError
from dispatcher.ledger.database import Database, micros, moment
from dispatcher.ledger.rows import Campaign


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedText:
    """A text under a name, and since when it reads so."""

    name: str
    template: str
    saved_at: datetime


class SavedTexts:
    """The texts of this ledger."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def save(self, name: str, template: str, *, replace: bool, now: datetime) -> bool:
        """Keep a text under a name. False where there is another, which stays but for `replace`."""
        clash = "UPDATE SET template = excluded.template, saved_at = excluded.saved_at" if replace else "NOTHING"
        with self._database.write() as tx:
            return bool(
                tx.run(
                    "INSERT INTO saved_text (name, template, saved_at) VALUES (:name, :template, :saved_at)"
                    f" ON CONFLICT (name) DO {clash}",
                    name=name,
                    template=template,
                    saved_at=micros(now),
                )
            )

    def get(self, name: str) -> SavedText:
        """Return the text of a name.

        Raises:
            UsageError: there is none.
        """
        found = [one for one in self.all() if one.name == name]
        if not found:
            raise UsageError(f"there is no saved text {name}: `dispatcher texts list` tells which there are")
        return found[0]

    def all(self) -> list[SavedText]:
        """Return all of them, by name."""
        with self._database.read() as tx:
            rows = tx.rows("SELECT name, template, saved_at FROM saved_text ORDER BY name")
        found = []
        for row in rows:
            saved_at = moment(row.saved_at)
            assert saved_at is not None
            found.append(SavedText(name=row.name, template=row.template, saved_at=saved_at))
        return found

    def remove(self, name: str) -> bool:
        """Forget a text. False where there was none."""
        with self._database.write() as tx:
            return bool(tx.run("DELETE FROM saved_text WHERE name = :name", name=name))

    def of_campaign(self, campaign: Campaign) -> dict[str, str]:
        """Return the texts, by name, that a campaign has for some of its recipients."""
        with self._database.read() as tx:
            rows = tx.rows("SELECT name, template FROM variant WHERE campaign_id = :id ORDER BY name", id=campaign.id)
        return {str(row.name): str(row.template) for row in rows}

"""Who does what at the moment: short leases on work that one should do, and the workers' signs of life."""

from datetime import datetime, timedelta

from dispatcher.ledger.database import Database, micros, moment
from dispatcher.ledger.rows import WorkerSeen

_FORGET_WORKERS_AFTER = timedelta(days=1)


class Leases:
    """Leases by name, and heartbeat rows."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def acquire(self, name: str, *, owner: str, now: datetime, length: timedelta) -> bool:
        """Take or renew the lease; False while it is another's."""
        with self._database.write() as tx:
            return bool(
                tx.run(
                    "INSERT INTO lease (name, owner, until) VALUES (:name, :owner, :until)"
                    " ON CONFLICT (name) DO UPDATE SET owner = excluded.owner, until = excluded.until"
                    " WHERE lease.owner = excluded.owner OR lease.until <= :now",
                    name=name,
                    owner=owner,
                    until=micros(now + length),
                    now=micros(now),
                )
            )

    def acquire_one(self, prefix: str, most: int, *, owner: str, now: datetime, length: timedelta) -> str | None:
        """Take one of the `most` leases of a family, and return its name; None while all are taken."""
        with self._database.write() as tx:
            taken = {
                row.name
                for row in tx.rows(
                    "SELECT name FROM lease WHERE name LIKE :prefix AND until > :now",
                    prefix=prefix + ":%",
                    now=micros(now),
                )
            }
            for index in range(most):
                name = f"{prefix}:{index}"
                if name not in taken and tx.run(
                    "INSERT INTO lease (name, owner, until) VALUES (:name, :owner, :until)"
                    " ON CONFLICT (name) DO UPDATE SET owner = excluded.owner, until = excluded.until"
                    " WHERE lease.until <= :now",
                    name=name,
                    owner=owner,
                    until=micros(now + length),
                    now=micros(now),
                ):
                    return name
            return None

    def release(self, name: str, *, owner: str) -> None:
        """Give a lease up before its end."""
        with self._database.write() as tx:
            tx.run("DELETE FROM lease WHERE name = :name AND owner = :owner", name=name, owner=owner)

    def held(self, prefix: str, *, now: datetime) -> int:
        """Return how many leases of a family are held."""
        with self._database.read() as tx:
            row = tx.first(
                "SELECT COUNT(*) AS many FROM lease WHERE name LIKE :prefix AND until > :now",
                prefix=prefix + ":%",
                now=micros(now),
            )
        return 0 if row is None else int(row.many)

    def beat(self, name: str, *, started_at: datetime, worked_at: datetime | None, now: datetime) -> None:
        """Record that a worker process is alive, and when it last did some work."""
        with self._database.write() as tx:
            tx.run(
                "INSERT INTO worker (name, started_at, seen_at, worked_at) VALUES (:name, :started, :now, :worked)"
                " ON CONFLICT (name) DO UPDATE SET seen_at = excluded.seen_at,"
                " worked_at = COALESCE(excluded.worked_at, worker.worked_at)",
                name=name,
                started=micros(started_at),
                now=micros(now),
                worked=None if worked_at is None else micros(worked_at),
            )
            tx.run("DELETE FROM worker WHERE seen_at < :old", old=micros(now - _FORGET_WORKERS_AFTER))

    def gone(self, name: str) -> None:
        """Record that a worker process has stopped in good order."""
        with self._database.write() as tx:
            tx.run("DELETE FROM worker WHERE name = :name", name=name)

    def workers(self) -> list[WorkerSeen]:
        """Return the workers that have been seen within a day, the latest first."""
        with self._database.read() as tx:
            rows = tx.rows("SELECT name, started_at, seen_at, worked_at FROM worker ORDER BY seen_at DESC")
        found = []
        for row in rows:
            started, seen = moment(row.started_at), moment(row.seen_at)
            assert started is not None
            assert seen is not None
            found.append(WorkerSeen(name=row.name, started_at=started, seen_at=seen, worked_at=moment(row.worked_at)))
        return found

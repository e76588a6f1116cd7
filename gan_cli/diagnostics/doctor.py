"""The findings of a run over time: when each began, and when it ended."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from gan_cli.diagnostics.findings import KINDS, NOTE, SEVERITIES, STOP
from gan_cli.diagnostics.seen import Row, Seen

BEGINS_AFTER, ENDS_AFTER = 3, 3  # records in a row with a finding, or without it


@dataclass
class Finding:
    """A finding: since which step, its evidence at the last record that shows it, and at which step it ended, if so."""

    name: str
    since: int
    evidence: str
    until: int | None = None

    @property
    def facts(self) -> dict[str, Any]:
        """The finding as plain data, for ``findings.jsonl``."""
        return {"name": self.name, "severity": self.severity, "since": self.since, "until": self.until,
                "evidence": self.evidence}  # fmt: skip

    @property
    def line(self) -> str:
        """The line that a run says when the finding begins or ends."""
        if self.until is not None:
            return f"{self.title} is over since step {self.until:,}"
        return f"{self.title} since step {self.since:,}: {self.evidence}"

    @property
    def severity(self) -> str:
        """``stop``: the run is worth no more time as it is; ``warning``; ``note``."""
        return KINDS[self.name].severity

    @property
    def title(self) -> str:
        """The finding in words."""
        return KINDS[self.name].title

    @property
    def why(self) -> str:
        """Why it matters."""
        return KINDS[self.name].why


class Doctor:
    """Looks at each record of a run in turn. ``config`` is the run's configuration.

    A finding begins at the first of :data:`BEGINS_AFTER` records in a row that show it, and ends at the first of
    :data:`ENDS_AFTER` that don't.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.history: list[Finding] = []
        self._seen = Seen(config)
        self._open: dict[str, Finding] = {}
        self._shown: dict[str, list[int]] = {}  # steps in a row that show a finding which has not begun
        self._missing: dict[str, list[int]] = {}  # and that don't show one which has

    def look(self, row: Row) -> list[Finding]:
        """Look at the next record. Return the findings that have begun or ended with it."""
        self._seen.add(row)
        return [news for name in KINDS if (news := self._follow(name, int(row["step"])))]

    def _follow(self, name: str, step: int) -> Finding | None:
        evidence, known = KINDS[name].check(self._seen), self._open.get(name)
        if evidence and known:
            known.evidence = evidence
            self._missing.pop(name, None)
        elif evidence:
            steps = self._shown.setdefault(name, [])
            steps.append(step)
            if len(steps) >= BEGINS_AFTER:
                self._open[name] = found = Finding(name, self._shown.pop(name)[0], evidence)
                self.history.append(found)
                return found
        else:
            self._shown.pop(name, None)
            if known:
                steps = self._missing.setdefault(name, [])
                steps.append(step)
                if len(steps) >= ENDS_AFTER:
                    del self._open[name]
                    known.until = self._missing.pop(name)[0]
                    return known
        return None

    @property
    def early(self) -> bool:
        """Whether there are too few records, or images, for a verdict that the run is well."""
        return self._seen.early

    @property
    def now(self) -> list[Finding]:
        """The findings that have not ended, the most severe first."""
        return sorted(self._open.values(), key=lambda found: (SEVERITIES.index(found.severity), found.since))


def examined(rows: Iterable[Row], config: Mapping[str, Any]) -> Doctor:
    """The doctor after all of ``rows``, the records of a run."""
    doctor = Doctor(config)
    for row in rows:
        doctor.look(row)
    return doctor


def verdict(doctor: Doctor) -> str:
    """The state of a run in a few words: its findings, or healthy; and whether it is early to say so."""
    grave = [found.title for found in doctor.now if found.severity != NOTE]
    words = ", ".join(grave) or "healthy"
    return words + (" so far; it is early to say" if doctor.early else "")


def is_grave(doctor: Doctor) -> bool:
    """Whether one of the findings of now says that the run is worth no more time as it is."""
    return any(found.severity == STOP for found in doctor.now)

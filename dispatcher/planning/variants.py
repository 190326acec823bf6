"""Chooses the text of each recipient, where a campaign says different things to different people."""

from collections import Counter
from collections.abc import Mapping, Sequence
from enum import StrEnum

from dispatcher.planning.reading.rows import Chunk
from dispatcher.template import Template

Name = str | None
"""Of a variant; None is the text for all others."""


class Missing(StrEnum):
    """What a row means that has no value for a field without a default."""

    REFUSE = "refuse"  # the whole list is refused
    SKIP = "skip"  # the row becomes no message
    EMPTY = "empty"  # nothing stands there; the texts say so themselves by then


class Variants:
    """The texts of one campaign: `template` for all but those for whom `column` names another."""

    def __init__(self, template: Template, others: Mapping[str, Template], column: str | None) -> None:
        self._column = column if others else None
        self._by_value = {fold_value(name): name for name in others}
        self.templates: dict[Name, Template] = {None: template}
        self.templates.update(others)
        self._chosen: Counter[Name] = Counter()
        self.needs = {name: frozenset(one.required) for name, one in self.templates.items()}

    @property
    def together(self) -> Template:
        """What all of the texts together need, as one."""
        if len(self.templates) == 1:
            return self.templates[None]
        parts = [part for template in self.templates.values() for part in template.parts]
        return Template(text="".join(one.text for one in self.templates.values()), parts=tuple(parts))

    @property
    def unused(self) -> list[str]:
        """The names of the texts that nobody gets."""
        return [name for name in self.templates if name is not None and not self._chosen[name]]

    def names(self, chunk: Chunk, positions: Sequence[int]) -> list[Name] | None:
        """Return which text each of some rows gets; None: all get the same."""
        if self._column is None:
            return None
        column = chunk.columns[self._column]
        known: dict[str, Name] = {}
        found: list[Name] = []
        for position in positions:
            value = column[position]
            if value not in known:
                known[value] = self._by_value.get(fold_value(value))
            found.append(known[value])
        return found

    def render(self, values: Mapping[str, Sequence[str]], names: Sequence[Name] | None, count: int) -> list[str]:
        """Return the text of each of `count` rows, by the names that `names` gave."""
        if names is None:
            return self.templates[None].render(values, count)
        texts = [""] * len(names)
        for name, template in self.templates.items():
            own = [at for at, one in enumerate(names) if one == name]
            columns = {field: [values[field][at] for at in own] for field in template.fields}
            for at, text in zip(own, template.render(columns, len(own)), strict=True):
                texts[at] = text
        return texts

    def groups(self, names: Sequence[Name] | None) -> list[tuple[None, Name]] | None:
        """Return what the cutter keeps apart, and count it as planned."""
        if names is None:
            return None
        self._chosen.update(names)
        return [(None, name) for name in names]


def fold_value(value: str) -> str:
    """Return a value as it is compared: without spaces around it, and in whatever case."""
    return value.strip().casefold()

"""Settings that change while the registry runs, declared by their owners and kept in the database.

Reading is a dictionary look-up. A change is written in its own transaction (`Session.change_settings`), counts as a
change of rights of the subject `SUBJECT`, and is so known on every node within a second or two.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Generic, TypeVar

import msgspec
import sqlalchemy as sa

from corereg.errors import BadRequest
from corereg.store.database import Database, Transaction, now
from corereg.store.schema import settings

SUBJECT = "settings"
"""The subject of `Rights` that changes when a setting does."""

Kept = TypeVar("Kept")


class Setting(msgspec.Struct, Generic[Kept], frozen=True, kw_only=True):
    """One setting: its name (unique in the registry), its type (anything msgspec converts), its default.

    `check` raises ValueError with a sentence for a value of the right type that makes no sense. A `secret` is written
    and never shown.
    """

    name: str
    type: Any
    default: Kept
    description: str
    secret: bool = False
    check: Callable[[Kept], object] | None = None


class Settings:
    """The settings of one registry.

    `fixed` holds values from outside (an operator's environment): they win, and then nothing can be changed here.
    """

    def __init__(
        self, database: Database, declared: Iterable[Setting[Any]], *, fixed: Mapping[str, Any] | None = None
    ) -> None:
        self.database = database
        self.declared = {each.name: each for each in declared}
        self.fixed = {name: self.converted(name, value) for name, value in (fixed or {}).items()}
        self._values: dict[str, Any] = {}
        self.on_change: list[Callable[[], Awaitable[None]]] = []
        """Called after the values were read anew; one that raises is called again within seconds, until it does not."""
        self._untold: list[Callable[[], Awaitable[None]]] = []

    def get(self, name: str) -> Any:
        """The setting's value now."""
        for values in (self.fixed, self._values):
            if name in values:
                return values[name]
        return self.declared[name].default

    def converted(self, name: str, value: Any) -> Any:
        """The value in the setting's type. Raises BadRequest for one it cannot have, or a name nobody declared."""
        setting = self.declared.get(name)
        if setting is None:
            message = f"there is no setting {name[:60]!r}"
            raise BadRequest(message)
        try:
            found = msgspec.convert(value, setting.type, strict=False)
            if setting.check is not None:
                setting.check(found)
        except (msgspec.ValidationError, ValueError) as error:
            message = f"the setting {name} cannot be {'that' if setting.secret else repr(value)[:60]}: {error}"
            raise BadRequest(message) from None
        return found

    async def reload(self) -> None:
        """Read all values; what no owner declares any more, or its type does not take any more, is left aside.

        Whoever raises when told of them keeps nobody else from hearing; an ExceptionGroup says so at the end. Called
        once more, with the same values, this tells only who has not heard.
        """
        values = await self._kept(self.database)
        if values != self._values or not self._untold:
            self._untold = list(self.on_change)
        self._values = values
        self._untold = [each for each in self.on_change if each in self._untold]
        errors = []
        for told in list(self._untold):
            try:
                await told()
            except Exception as error:  # noqa: BLE001 - raised below, once all have heard
                errors.append(error)
            else:
                self._untold.remove(told)
        if errors:
            message = "not everybody could apply the settings"
            raise ExceptionGroup(message, errors)

    async def _kept(self, source: Database | Transaction) -> dict[str, Any]:
        found = {}
        for name, text in await source.rows(sa.select(settings.c.name, settings.c.value)):
            if name in self.declared:
                try:
                    found[name] = self.converted(name, msgspec.json.decode(text))
                except BadRequest:
                    continue
        return found

    async def write(self, tx: Transaction, values: Mapping[str, Any]) -> dict[str, Any]:
        """Inside `tx`: keep the values, which `converted` has seen; those that differ from before.

        Before is what the database says: what this process remembers may be a second old.
        """
        kept = await self._kept(tx)
        changed = {}
        for name, value in values.items():
            if kept.get(name, self.declared[name].default) == value:
                continue
            insert = tx.insert(settings).values(name=name, value=msgspec.json.encode(value).decode(), updated_at=now())
            await tx.execute(
                insert.on_conflict_do_update(
                    index_elements=["name"],
                    set_={"value": insert.excluded.value, "updated_at": insert.excluded.updated_at},
                )
            )
            changed[name] = value
        return changed

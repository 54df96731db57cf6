"""Settings that change while the registry runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from corereg.access import Action
from corereg.errors import Forbidden
from corereg.session.door import Door
from corereg.store.settings import SUBJECT

UPDATE = Action("configuration", "update")


class Configuration(Door):
    """What a session does with settings."""

    __slots__ = ()

    async def change_settings(self, values: Mapping[str, Any]) -> None:
        """Set all of `values` or none. Raises BadRequest for a name nobody declared or a value it cannot have, and
        Forbidden where the operator has fixed the settings from outside.
        """
        await self.require(UPDATE)
        settings = self._house.settings
        if settings.fixed:
            message = "the settings are fixed by the operator (CONFIG_OVERWRITE_JSON); change them there"
            raise Forbidden(message)
        wanted = {name: settings.converted(name, value) for name, value in values.items()}
        shown = {name: "***" if settings.declared[name].secret else value for name, value in wanted.items()}
        async with self.change(self.operation("configuration.update", details={"settings": shown})) as change:
            changed = await settings.write(change.tx, wanted)
            change.details["settings"] = {name: shown[name] for name in changed}
            change.rights_changed(SUBJECT)

"""The keys that sign tokens: kept in the database, so that every node signs and believes alike."""

from __future__ import annotations

import sqlalchemy as sa

from corereg.store.database import Database, Transaction, now
from corereg.store.schema import signing_keys
from corereg.tokens import SigningKey, Tokens

SECOND = 1_000_000


class Keys:
    """Makes, loads, rotates and forgets signing keys."""

    def __init__(self, database: Database, tokens: Tokens, *, rotate: int = 90 * 86400) -> None:
        self.database = database
        self.tokens = tokens
        self._rotate = rotate * SECOND

    async def load(self) -> None:
        """Make the first key if there is none, and hand all of them to the tokens."""
        if not await self.database.rows(sa.select(signing_keys.c.id).where(signing_keys.c.retired_at.is_(None))):
            async with self.database.transaction() as tx:
                await self.database.lock(tx, "corereg keys")
                if not await tx.rows(sa.select(signing_keys.c.id).where(signing_keys.c.retired_at.is_(None))):
                    await _insert(tx, SigningKey.generate())
        await self.reload()

    async def reload(self) -> None:
        rows = await self.database.rows(
            sa.select(signing_keys.c.id, signing_keys.c.private, signing_keys.c.retired_at).order_by(
                signing_keys.c.created_at, signing_keys.c.id
            )
        )
        self.tokens.use(
            [SigningKey.load(key, pem, None if retired is None else retired / SECOND) for key, pem, retired in rows]
        )

    async def rotate_in(self, tx: Transaction, *, forget: bool = False) -> str:
        """Inside `tx`: a new key signs from now on; its id.

        The old ones are believed until their last token has ended, then forgotten; with `forget` at once, because
        one of them leaked.
        """
        await self.database.lock(tx, "corereg keys")
        key = SigningKey.generate()
        at = now()
        ended = at - self.tokens.believed_for * SECOND
        await tx.execute(sa.delete(signing_keys).where(sa.true() if forget else signing_keys.c.retired_at < ended))
        await tx.execute(sa.update(signing_keys).where(signing_keys.c.retired_at.is_(None)).values(retired_at=at))
        await _insert(tx, key)
        return key.id

    async def due(self) -> bool:
        """Whether the signing key is older than the config wants."""
        row = await self.database.row(
            sa.select(sa.func.max(signing_keys.c.created_at)).where(signing_keys.c.retired_at.is_(None))
        )
        return row is not None and row[0] is not None and row[0] < now() - self._rotate


async def _insert(tx: Transaction, key: SigningKey) -> None:
    await tx.execute(sa.insert(signing_keys).values(id=key.id, private=key.pem(), created_at=now()))

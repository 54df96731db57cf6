"""The store of users. Reading is free; every change goes through a Session, which asks, writes and records."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy import bindparam

from corereg import (
    Action,
    Change,
    Database,
    DatabaseError,
    Identity,
    OCIError,
    Query,
    Session,
    Transaction,
    Unauthorized,
    now,
)
from corereg_accounts.names import check_email, check_name, check_profile, key_of, problem_of
from corereg_accounts.passwords import Passwords, check_strength
from corereg_accounts.schema import sessions, users

log = logging.getLogger(__name__)

SOURCE = "accounts"
"""The `Identity.source` of local users."""
CREDENTIAL = "credential"
"""The attribute of an identity that says what proved it, where that was no password: one of the three below."""
SECRET, SESSION, TOKEN = "secret", "session", "token"
SIGNING_IN = "signing_in"
"""The detail of an operation that is part of somebody's sign-in: policies that refuse changes may let it be."""
PREFIX = "user:"
PROGRAM = "secret:"
"""Before a user's id, a group of whoever signed in with the CLI secret: unlike attributes, bearer tokens carry it."""
LARGEST_ID = 2**63 - 1
CREATE, UPDATE, DELETE = (Action("user", word) for word in ("create", "update", "delete"))


class UserUnknown(OCIError, code="NOT_FOUND", status=404):
    """No user has this name, or this id."""


class NameTaken(OCIError, code="CONFLICT", status=409):
    """A user has this name already."""


class User(msgspec.Struct, frozen=True, kw_only=True):
    """A user. Times are microseconds since 1970, UTC.

    `source` names the plugin that vouches for people from elsewhere, who have no password here;
    `vouched_administrator` is what it said of them when they last signed in.
    """

    id: int
    name: str
    email: str | None
    realname: str
    comment: str
    administrator: bool
    disabled: bool
    created_at: int
    updated_at: int
    source: str
    vouched_administrator: bool

    @property
    def local(self) -> bool:
        """Whether the user's password is kept here."""
        return self.source == SOURCE

    @property
    def program(self) -> str:
        """The group that the user is in when their CLI secret proved who they are."""
        return f"{PROGRAM}{self.id}"

    @property
    def subject(self) -> str:
        """What rights and revocations count on; not the name, which another user may have one day."""
        return f"{PREFIX}{self.id}"

    def identity(self, **attributes: Any) -> Identity:
        """The user as somebody who asks."""
        return Identity(
            name=self.name,
            subject=self.subject,
            administrator=self.administrator,
            source=self.source,
            attributes=attributes,
        )


FLAGS = ("administrator", "disabled", "vouched_administrator")
FIELDS = tuple(users.c[name] for name in User.__struct_fields__)
BY_ID = Query(sa.select(*FIELDS).where(users.c.id == bindparam("id", type_=sa.BigInteger)))
BY_NAME = Query(
    sa.select(*FIELDS, users.c.password_hash, users.c.secret_hash).where(users.c.name_key == bindparam("key"))
)
BY_EXTERNAL = Query(
    sa.select(*FIELDS).where(users.c.source == bindparam("source"), users.c.external == bindparam("external"))
)


def user_of(row: Any) -> User:
    """The user whose `FIELDS` a row begins with."""
    fields = dict(zip(User.__struct_fields__, row, strict=False))  # hashes may follow
    fields |= {flag: bool(fields[flag]) for flag in FLAGS}
    return User(**fields)


class Users:
    """The users of one registry."""

    def __init__(self, database: Database, passwords: Passwords) -> None:
        self.database = database
        self.passwords = passwords

    # ---- reading ----

    async def with_id(self, user_id: int) -> User | None:
        """The user of that id."""
        row = await self.database.row(BY_ID, id=user_id) if 0 < user_id <= LARGEST_ID else None
        return user_of(row) if row else None

    async def of(self, identity: Identity) -> User | None:
        """The user an identity stands for; None when it is of another kind, or the user was deleted."""
        number = identity.subject.removeprefix(PREFIX)
        if not (identity.subject.startswith(PREFIX) and number.isascii() and number.isdigit()):
            return None
        user = await self.with_id(int(number))
        return user if user and user.source == identity.source else None

    async def known_as(self, source: str, external: str) -> User | None:
        """The user whom another plugin vouches for, and calls so."""
        row = await self.database.row(BY_EXTERNAL, source=source, external=external)
        return user_of(row) if row else None

    async def with_email(self, email: str) -> bool:
        """Whether somebody has that address, in any case."""
        wanted = sa.select(users.c.id).where(sa.func.lower(users.c.email) == email.lower()).limit(1)
        return await self.database.row(wanted) is not None

    async def named(self, name: str) -> User:
        """The user of that name, in any case. Raises UserUnknown."""
        row = await self._row(name)
        if row is None:
            message = f"there is no user {name!r}"
            raise UserUnknown(message)
        return user_of(row)

    async def _row(self, name: str) -> Any:
        return await self.database.row(BY_NAME, key=key_of(name)) if problem_of(name) is None else None

    async def everyone(self) -> list[User]:
        """All users, by the bytes of their names."""
        found = [user_of(row) for row in await self.database.rows(sa.select(*FIELDS))]
        return sorted(found, key=lambda each: key_of(each.name))  # a database has an order of its own

    async def none_yet(self) -> bool:
        """Whether there is no user at all."""
        return await self.database.row(sa.select(users.c.id).limit(1)) is None

    # ---- signing in ----

    async def check(self, name: str, password: str) -> User | None:
        """The user, if this is the password; as slow for a name nobody has. Raises Unauthorized for a disabled one."""
        row = await self._row(name)
        kept = row[-2] if row else None
        if not await self.passwords.verify(kept or None, password) or row is None:
            return None
        user = user_of(row)
        if user.disabled:
            raise disabled(user)
        if self.passwords.outdated(row[-2]):
            await self._rehash(user, row[-2], password)
        return user

    async def check_secret(self, name: str, secret: str) -> User | None:
        """The user, if this is the CLI secret; as slow where there is none. Raises Unauthorized for a disabled one."""
        row = await self._row(name)
        if not await self.passwords.verify(row[-1] if row else None, secret) or row is None:
            return None
        user = user_of(row)
        if user.disabled:
            raise disabled(user)
        return user

    async def _rehash(self, user: User, old: str, password: str) -> None:
        """Keep the same password with today's parameters. No change that anybody sees, so nothing is recorded."""
        new = await self.passwords.hash(password)
        same = sa.update(users).where(users.c.id == user.id, users.c.password_hash == old)
        try:
            async with self.database.transaction() as tx:
                await tx.execute(same.values(password_hash=new))
        except DatabaseError as error:  # a read-only disk is no reason to keep anybody out
            log.warning("the password of user %d keeps its old hash for now: %s", user.id, error)

    # ---- changing ----

    async def create(
        self,
        session: Session,
        name: str,
        password: str,
        *,
        administrator: bool = False,
        email: str | None = None,
        realname: str = "",
        comment: str = "",
        registers: bool = False,
    ) -> User:
        """Make a user. Raises NameRefused, PasswordRefused or NameTaken.

        `registers`: whoever asks signs up, which is allowed to everybody; no administrator comes of it.
        """
        if not registers:
            await session.require(CREATE)  # before a hash is made for nobody
        check_name(name)
        check_strength(password)
        if email is not None:
            check_email(email)
        fields = {"name": name, "email": email, "realname": realname, "comment": comment, "disabled": False}
        fields |= {"administrator": administrator and not registers}
        fields |= {"password_hash": await self.passwords.hash(password)}
        return await self._insert(session, fields, None if registers else CREATE)

    async def onboard(self, session: Session, name: str, *, external: str, email: str | None, realname: str) -> User:
        """Make a user of somebody whom another plugin vouches for: the session's identity. Raises NameTaken, also when
        another sign-in of the same person was faster.
        """
        fields: dict[str, Any] = {"name": name, "email": email, "realname": realname, "comment": "", "disabled": False}
        fields |= {"administrator": False, "password_hash": "", "external": external}
        return await self._insert(session, fields | {"source": session.identity.source}, None)

    async def _insert(self, session: Session, fields: dict[str, Any], needs: Action | None) -> User:
        name, at = fields["name"], now()
        details = {"name": name, "administrator": fields["administrator"]}
        if "source" in fields:
            details |= {"source": fields["source"], SIGNING_IN: True}
        insert = self.database.insert(users).values(
            **{key: int(value) if isinstance(value, bool) else value for key, value in fields.items()},
            name_key=key_of(name),
            created_at=at,
            updated_at=at,
        )
        async with session.change(session.operation("user.create", details=details), needs=needs) as change:
            row = await change.tx.row(insert.on_conflict_do_nothing().returning(*FIELDS))
            if row is None:
                message = f"the name {name!r} is taken; choose another one"
                raise NameTaken(message)
            user = user_of(row)
            change.details["subject"] = user.subject
        return user

    async def set_password(self, session: Session, user: User, password: str, *, own: bool = False) -> None:
        """Give a user another password; whatever signed in with the old one has to do so again.

        `own`: the session's identity is the user, and has proven to know the old one.
        """
        if not own:
            await session.require(UPDATE)
        check_strength(password)
        kept = await self.passwords.hash(password)
        async with self._change(session, "user.password", user, None if own else UPDATE) as change:
            await self._write(change, user, password_hash=kept)
            if own:
                await session.confirm(change.tx)
            await _end_sessions(change, user)
            change.revoke(user.subject)

    async def set_secret(self, session: Session, user: User, secret: str, *, own: bool = False) -> None:
        """Give a user another CLI secret; whatever signed in with the old one has to do so again."""
        if not own:
            await session.require(UPDATE)
        check_strength(secret)
        kept = await self.passwords.hash(secret)
        async with self._change(session, "user.update", user, None if own else UPDATE) as change:
            await self._write(change, user, secret_hash=kept)
            if own:
                await session.confirm(change.tx)
            change.details["cli_secret"] = True
            change.revoke(user.subject)

    async def set_profile(
        self, session: Session, user: User, *, email: str, realname: str, comment: str, own: bool = False
    ) -> None:
        """Change what a user says of themselves. Raises NameRefused."""
        if not own:
            await session.require(UPDATE)
        check_profile(email, realname, comment)
        async with self._change(session, "user.update", user, None if own else UPDATE) as change:
            await self._write(change, user, email=email, realname=realname, comment=comment)

    async def set_vouched(self, session: Session, user: User, *, administrator: bool) -> None:
        """Keep what the plugin that vouches for a user says of them."""
        async with self._change(session, "user.update", user, None, {SIGNING_IN: True}) as change:
            await self._write(change, user, vouched_administrator=int(administrator))
            change.details["vouched_administrator"] = administrator
            change.rights_changed(user.subject)

    async def set_disabled(self, session: Session, user: User, *, disabled: bool) -> None:
        """Keep a user out, at once and everywhere; or let them in again."""
        kind = "user.disable" if disabled else "user.enable"
        async with self._change(session, kind, user, UPDATE) as change:
            await self._write(change, user, disabled=int(disabled))
            if disabled:
                await _end_sessions(change, user)
                change.revoke(user.subject)

    async def set_administrator(self, session: Session, user: User, *, administrator: bool) -> None:
        """Make a user an administrator, or an ordinary user."""
        async with self._change(session, "user.update", user, UPDATE) as change:
            await self._write(change, user, administrator=int(administrator))
            change.details["administrator"] = administrator
            change.rights_changed(user.subject)

    async def delete(self, session: Session, user: User) -> None:
        """Forget a user, with sessions, tokens and memberships. Who gets the name later is somebody else."""
        async with self._change(session, "user.delete", user, DELETE) as change:
            if not await change.tx.execute(sa.delete(users).where(users.c.id == user.id)):
                raise _gone(user)
            change.revoke(user.subject)

    @asynccontextmanager
    async def _change(
        self, session: Session, kind: str, user: User, needs: Action | None, more: Mapping[str, Any] = {}
    ) -> AsyncGenerator[Change]:
        operation = session.operation(kind, details={"name": user.name, "subject": user.subject, **more})
        async with session.change(operation, needs=needs) as change:
            yield change

    async def _write(self, change: Change, user: User, **values: Any) -> None:
        update = sa.update(users).where(users.c.id == user.id).values(updated_at=now(), **values)
        if not await change.tx.execute(update):
            raise _gone(user)


async def hold(session: Session, tx: Transaction, user: User) -> None:
    """Before a credential of the user who calls is made: nobody ends or changes theirs until `tx` is over.

    Raises Unauthorized where somebody just did.
    """
    row = await tx.row(sa.select(users.c.disabled).where(users.c.id == user.id).with_for_update(read=True))
    if row is None:
        message = f"{user.name} was deleted a moment ago"
        raise Unauthorized(message)
    if row[0]:
        raise disabled(user)
    await session.confirm(tx)


async def _end_sessions(change: Change, user: User) -> None:
    await change.tx.execute(sa.delete(sessions).where(sessions.c.user_id == user.id))


def rfc3339(microseconds: int) -> str:
    """A time with milliseconds, UTC, as Harbor writes it."""
    moment = datetime.fromtimestamp(microseconds // 1000 / 1000, UTC)
    return f"{moment.isoformat(timespec='milliseconds').removesuffix('+00:00')}Z"


def disabled(user: User) -> Unauthorized:
    """Why a disabled user may not sign in."""
    return Unauthorized(f"{user.name} is disabled; ask an administrator")


def _gone(user: User) -> UserUnknown:
    return UserUnknown(f"the user {user.name!r} was deleted a moment ago")

"""What can go wrong between a command and a registry: one class for each exit status that scripts may rely on.

0 done, 1 failed, 2 usage, 3 not found, 4 not signed in or not allowed, 5 in the way of what is there (conflict,
exists, immutable, quota), 6 cannot reach the server, 7 partly done, 8 waited too long, 9 a check found problems,
130 interrupted.
"""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec

UNSIGNED = "Sign in with `corereg login URL`, or set COREREG_USER with COREREG_TOKEN or COREREG_PASSWORD_FILE."
MOST_TEXT = 300
"""Characters of an answer that is no error of ours and is shown all the same."""


class ClientError(Exception):
    """Failed; `str()` is the sentence. `hint` says what to do, `status` is the server's, where one answered."""

    exit_status: ClassVar[int] = 1
    code = "FAILED"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        hint: str | None = None,
        status: int | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.code
        self.hint = hint
        self.status = status
        self.request_id = request_id

    def document(self) -> dict[str, Any]:
        """What ``-o json`` prints on standard error."""
        fields = {
            "code": self.code,
            "message": self.message,
            "hint": self.hint,
            "status": self.status,
            "request_id": self.request_id,
        }
        return {"error": {name: value for name, value in fields.items() if value is not None}}


class Misuse(ClientError):
    """What was asked for makes no sense: an argument, a file, or a body that the server does not take."""

    exit_status = 2
    code = "USAGE"


class NotFound(ClientError):
    """There is no such thing."""

    exit_status = 3
    code = "NOT_FOUND"


class NotAllowed(ClientError):
    """Not signed in, or not allowed."""

    exit_status = 4
    code = "UNAUTHORIZED"


class InTheWay(ClientError):
    """It exists already, is immutable, still holds something, or would not fit."""

    exit_status = 5
    code = "CONFLICT"


class Unreachable(ClientError):
    """Nobody answered, or somebody whose certificate is not believed."""

    exit_status = 6
    code = "UNREACHABLE"


class PartlyDone(ClientError):
    """Some of it is done, and some is not."""

    exit_status = 7
    code = "PARTLY_DONE"


class TooLong(ClientError):
    """The server did not answer in time."""

    exit_status = 8
    code = "TIMEOUT"


_BY_STATUS: dict[int, type[ClientError]] = {
    400: Misuse,
    401: NotAllowed,
    403: NotAllowed,
    404: NotFound,
    409: InTheWay,
    412: InTheWay,
    422: Misuse,
    504: TooLong,
}


class _Item(msgspec.Struct):
    code: str = ""
    message: str = ""


class _Envelope(msgspec.Struct):
    errors: list[_Item]


def refusal(status: int, body: bytes, request_id: str | None, *, signed_in: bool) -> ClientError:
    """The error that an answer of 400 and more means; Harbor's envelope, or whatever a proxy in between has said."""
    try:
        items = msgspec.json.decode(body, type=_Envelope).errors
    except msgspec.MsgspecError:
        items = []
    code = next((item.code for item in items if item.code), None)
    message = "; ".join(item.message for item in items if item.message)
    if not message:
        text = " ".join(body.decode("utf-8", "replace").split())[:MOST_TEXT] if b"<" not in body[:MOST_TEXT] else ""
        message = f"the server answered {status}{f': {text}' if text else ''}"
    kind = _BY_STATUS.get(status, ClientError)
    if status == 403 and code == "DENIED" and "quota" in message.lower():
        kind = InTheWay
    hint = UNSIGNED if status == 401 and not signed_in else None
    if status == 401 and signed_in:
        hint = "The password or token was refused; sign in again with `corereg login`."
    return kind(message, code=code or kind.code, hint=hint, status=status, request_id=request_id)

"""What an object store's errors mean here: a `StorageError` whose sentence names place and remedy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from corereg import KeyMissing, StorageError, StorageFull, StorageUnavailable

_CREDENTIALS = "The store does not know the credentials for {place} ({code}): check access_key and secret_key in "
_CREDENTIALS += "[storage_s3], or the environment or role they come from."
_CLOCK = "The store refuses {place} because the clocks differ: set this machine's time (NTP)."
_REFUSED = (
    "Access to {place} is refused: the credentials need s3:GetObject, s3:PutObject, s3:DeleteObject, s3:ListBucket, "
    "s3:ListBucketMultipartUploads, s3:ListMultipartUploadParts and s3:AbortMultipartUpload there."
)
_BUCKET = "There is no bucket of {place}: make it, or name another one in [storage] url."
_REGION = "{place} is in another region or at another endpoint: set them in [storage] url ({code})."
_FULL = "The store takes no more for {place} ({code}): raise its quota, or remove something."
_BUSY = "The store asks to be left alone at {place} ({code}), also after several attempts; try again later."

MISSING = frozenset({"NoSuchKey", "NoSuchUpload", "404", "NotFound"})

_MEANINGS: Mapping[str, tuple[type[StorageError], str]] = {
    **dict.fromkeys(MISSING, (KeyMissing, "{place} is not there.")),
    "NoSuchBucket": (StorageUnavailable, _BUCKET),
    **dict.fromkeys(
        ("InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "TokenRefreshRequired"),
        (StorageUnavailable, _CREDENTIALS),
    ),
    **dict.fromkeys(("AccessDenied", "AllAccessDisabled", "403", "Forbidden"), (StorageUnavailable, _REFUSED)),
    **dict.fromkeys(("RequestTimeTooSkewed", "RequestExpired"), (StorageUnavailable, _CLOCK)),
    **dict.fromkeys(
        ("PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "301"),
        (StorageUnavailable, _REGION),
    ),
    **dict.fromkeys(
        ("XMinioStorageFull", "QuotaExceeded", "XMinioAdminBucketQuotaExceeded", "InsufficientStorage", "507"),
        (StorageFull, _FULL),
    ),
    **dict.fromkeys(
        ("SlowDown", "ServiceUnavailable", "InternalError", "Throttling", "TooManyRequests", "500", "503"),
        (StorageUnavailable, _BUSY),
    ),
}


def code_of(error: BaseException | None) -> str | None:
    """S3's own code of an error (``NoSuchKey``), also where s3fs has made an OSError of it; None without one."""
    while error is not None:
        response: Any = getattr(error, "response", None)
        if isinstance(response, dict):
            return str(response.get("Error", {}).get("Code", ""))
        error = error.__cause__
    return None


def meaning(error: Exception, place: str) -> StorageError:
    """The error as corereg knows it."""
    code = code_of(error)
    if code is None:
        if type(error).__name__ in {"NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError"}:
            return StorageUnavailable(_CREDENTIALS.format(place=place, code="none were found"))
        return StorageUnavailable(f"The store of {place} does not answer: {_reason(error)}.")
    kind, sentence = _MEANINGS.get(code, (StorageUnavailable, "{place}: the store answers {code}: {reason}."))
    return kind(sentence.format(place=place, code=code, reason=_reason(error)))


def _reason(error: Exception) -> str:
    return str(error).rstrip(".") or type(error).__name__

"""A robot's name and secret, as programs want them."""

from __future__ import annotations

import re
import shlex
from base64 import b64encode

import msgspec

from corereg import remote

FORMATS = ("docker", "k8s", "env", "json")
_UNFIT = re.compile(r"[^a-z0-9.]+")


def exported(form: str, registry: str, name: str, secret: str) -> str:
    """The text of one of `FORMATS`."""
    if form == "docker":
        return _json(_docker_config(registry, name, secret))
    if form == "k8s":
        return remote.yaml_text(_kubernetes_secret(registry, name, secret))
    if form == "env":
        values = {"REGISTRY": registry, "REGISTRY_USER": name, "REGISTRY_PASSWORD": secret}
        return "".join(f"{key}={_quoted(value)}\n" for key, value in values.items())
    return _json({"registry": registry, "name": name, "secret": secret})


def _quoted(value: str) -> str:
    """For a shell; in single quotes wherever there is a `$`, as robots' names have it."""
    return shlex.quote(value)


def _docker_config(registry: str, name: str, secret: str) -> dict[str, object]:
    auth = b64encode(f"{name}:{secret}".encode()).decode("ascii")
    return {"auths": {registry: {"auth": auth}}}


def _kubernetes_secret(registry: str, name: str, secret: str) -> dict[str, object]:
    config = msgspec.json.encode(_docker_config(registry, name, secret))
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": _UNFIT.sub("-", name.lower()).strip("-.")[:253]},
        "type": "kubernetes.io/dockerconfigjson",
        "data": {".dockerconfigjson": b64encode(config).decode("ascii")},
    }


def _json(value: object) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n"

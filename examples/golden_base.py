"""A company policy: images are built on the company's own base images, or they are not pushed.

Start a registry with it:

    COREREG__PLUGINS=storage_fs,accounts,examples/golden_base.py corereg serve

The base is what the manifest's annotation ``org.opencontainers.image.base.name`` says. buildah and podman write it by
themselves, ``docker buildx build`` takes ``--annotation``. It is the builder's word: a signature is what proves it.
"""

from corereg import Operation, Refusal, hookimpl

GOLDEN = "registry.example.com/golden/"
BASE = "org.opencontainers.image.base.name"
IMAGES = ("application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json")


@hookimpl
async def admit(operation: Operation) -> Refusal | None:
    manifest = operation.manifest
    if operation.kind != "manifest.push" or manifest is None or manifest.config is None:
        return None
    base = manifest.annotations.get(BASE, "something unknown")
    if manifest.config.media_type not in IMAGES or base.startswith(GOLDEN):
        return None
    return Refusal(f"this image is built on {base[:80]}; build it on an image of {GOLDEN} and push again")

"""A company policy: images are built on the company's own base images, or they are not pushed.

Start a registry with it:

    COREREG__PLUGINS=storage_fs,accounts,examples/golden_base.py corereg serve

The base is what the manifest's annotation ``org.opencontainers.image.base.name`` says. buildah and podman write it by
themselves, ``docker buildx build --provenance=false --annotation ... --push`` writes what it is told. It is the
builder's word: what proves a base is a signature.
"""

from corereg import Operation, Refusal, hookimpl

GOLDEN = "registry.example.com/golden/"
BASE = "org.opencontainers.image.base.name"
IMAGES = ("application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json")


@hookimpl
async def admit(operation: Operation) -> Refusal | None:
    """Let everything pass that is no image, and every image on a golden base."""
    manifest = operation.manifest
    if operation.kind != "manifest.push" or manifest is None or manifest.config is None:
        return None
    base = manifest.annotations.get(BASE, "something unknown")
    if manifest.config.media_type not in IMAGES or base.startswith(GOLDEN):
        return None
    return Refusal(f"this image is built on {base[:80]}; build it on an image of {GOLDEN} and push again")

"""What a manifest is: its type, what it hangs on, what its config says, what more there is to read."""

from __future__ import annotations

import base64
import gzip
import io
import tarfile
from typing import Any

import msgspec
import pytest

from corereg import Refusal, hookimpl
from corereg.testing.client import EMPTY, Content, blob, expect, image, index

pytestmark = pytest.mark.anyio

HERE = "library/app"
HELM = "application/vnd.cncf.helm.config.v1+json"
CHART = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
MODEL = "application/vnd.cncf.model.config.v1+json"
COSIGN = "application/vnd.dev.cosign.simplesigning.v1+json"
SBOM = "application/vnd.goharbor.harbor.sbom.v1"
PNG = b"\x89PNG\r\n\x1a\n" + b"a picture"


def conf(kind: str, said: Any) -> Content:
    return Content(kind, said if isinstance(said, bytes) else msgspec.json.encode(said))


def packed(*files: tuple[str, bytes], **how: Any) -> bytes:
    """A tar archive, gzipped."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz", **how) as tar:
        for name, body in files:
            info = tarfile.TarInfo(name)
            info.size = len(body)
            tar.addfile(info, io.BytesIO(body))
    return out.getvalue()


async def pushed(api, reference: str | None, config: Content, *layers: Any, blobs: Any = (), **fields: Any) -> Content:
    contents = [layer for layer in layers if isinstance(layer, Content)]
    return await api.client.push(HERE, reference, image(config, layers, **fields), config, *contents, *blobs)


# ---- types and attributes ----


@pytest.mark.parametrize(
    ("media_type", "fields", "expected"),
    [
        ("application/vnd.oci.image.config.v1+json", {}, "IMAGE"),
        ("application/vnd.docker.container.image.v1+json", {}, "IMAGE"),
        (HELM, {}, "CHART"),
        ("application/vnd.cnab.config.v1+json", {}, "CNAB"),
        ("application/vnd.wasm.config.v1+json", {}, "WASM"),
        ("application/vnd.oci.image.config.v1+json", {"annotations": {"module.wasm.image/variant": "compat"}}, "WASM"),
        ("application/vnd.oci.empty.v1+json", {"artifactType": SBOM}, "SBOM"),
        (MODEL, {}, "CNAI"),
        ("application/vnd.caicloud.model.config.v1alpha1+json", {}, "MODEL"),
        ("application/vnd.oci.empty.v1+json", {"artifactType": "application/vnd.acme.rocket.config.v1+json"}, "ROCKET"),
        ("application/vnd.acme+json", {}, "UNKNOWN"),
        ("application/json", {"artifactType": "text/plain"}, "UNKNOWN"),
    ],
)
async def test_types(api, media_type: str, fields: dict[str, Any], expected: str) -> None:
    await pushed(api, "v1", conf(media_type, {}), **fields)
    found = await api.get(api.of(HERE, "v1"))
    assert (found["type"], found["media_type"]) == (expected, media_type)
    assert found["artifact_type"] == fields.get("artifactType", media_type)
    assert (await api.get(f"{api.of(HERE)}?q=type%3D{expected}"))[0]["digest"] == found["digest"]


@pytest.mark.parametrize(
    ("media_type", "said", "expected"),
    [
        (HELM, {"name": "app", "version": "1.0.0"}, {"name": "app", "version": "1.0.0"}),
        (MODEL, {"descriptor": {"name": "m"}}, {"descriptor": {"name": "m"}}),
        ("application/vnd.oci.image.config.v1+json", {"os": "linux", "rootfs": {}, "history": []}, {"os": "linux"}),
        ("application/vnd.acme.rocket.config.v1+json", {"a": 1, "b": 2, "c": 3}, {"b": 2}),
        (HELM, b"no json", {}),
        (HELM, b"[1]", {}),
        (HELM, b"[" * 100_000, {}),
        (HELM, b'{"a":' * 50_000, {}),
        (HELM, b"\xff", {}),
        (HELM, b"", {}),
        (HELM, {"name": "app", "description": "x" * 100_000}, {"name": "app"}),
    ],
)
async def test_attributes_come_from_the_config(api, media_type: str, said: Any, expected: Any) -> None:
    config = conf(media_type, said)
    described = config.descriptor(annotations={"io.goharbor.artifact.v1alpha1.skip-list": "a, c"})
    await api.client.push(HERE, "v1", image(described), config)
    assert (await api.get(api.of(HERE, "v1")))["extra_attrs"] == expected
    await api.settled()
    assert (await api.get(api.of(HERE, "v1")))["extra_attrs"] == expected


async def test_a_config_too_large_to_read_is_not_read(api) -> None:
    await pushed(api, "v1", conf(HELM, {"name": "x" * (4 * 1024 * 1024)}))
    assert (await api.get(api.of(HERE, "v1")))["extra_attrs"] == {}


async def test_a_bundle_tells_what_its_config_says(api) -> None:
    config = conf("application/vnd.cnab.config.v1+json", {"name": "bundle"})
    inner = await pushed(api, None, config)
    described = inner.descriptor(annotations={"io.cnab.manifest.type": "config"})
    bundle = index([described], annotations={"org.opencontainers.artifactType": "application/vnd.cnab.manifest.v1"})
    await api.client.push(HERE, "bundle", bundle)
    found = await api.get(api.of(HERE, "bundle"))
    assert (found["type"], found["extra_attrs"]) == ("CNAB", {"name": "bundle"})


class Shut:
    """Lets nobody pull a blob."""

    shut = True

    @hookimpl
    async def admit(self, operation: Any) -> Refusal | None:
        return Refusal("not now") if self.shut and operation.kind == "blob.pull" else None


async def test_a_config_that_cannot_be_read_now_is_read_later(opened) -> None:
    shut = Shut()
    api = await opened(shut)
    await api.push(HERE, "v1")
    await api.settled()
    assert "extra_attrs" not in await api.get(api.of(HERE, "v1"))
    shut.shut = False
    assert (await api.get(api.of(HERE, "v1")))["extra_attrs"]["os"] == "linux"


async def test_annotations_of_a_size_no_list_should_have(api) -> None:
    await api.push(HERE, "v1", annotations={"a": "x" * 100_000})
    assert "annotations" not in await api.get(api.of(HERE, "v1"))


# ---- accessories ----


@pytest.mark.parametrize(
    ("config", "fields", "expected"),
    [
        ("application/vnd.dev.cosign.artifact.sig.v1+json", {}, "signature.cosign"),
        (
            "application/vnd.oci.empty.v1+json",
            {"artifactType": "application/vnd.dev.sigstore.bundle.v0.3+json"},
            "signature.cosign",
        ),
        ("application/vnd.cncf.notary.signature", {}, "signature.notation"),
        (SBOM, {}, "sbom.harbor"),
        ("application/vnd.acme+json", {}, "subject.accessory"),
    ],
)
async def test_accessories(api, config: str, fields: dict[str, Any], expected: str) -> None:
    subject = await api.push(HERE, "v1")
    accessory = await pushed(api, None, conf(config, {}), subject=subject.descriptor(), **fields)
    (found,) = await api.get(api.of(HERE, "v1", "accessories"))
    assert found.pop("creation_time") > "2000"
    assert found.pop("icon").startswith("sha256:")
    assert found == {
        "id": 2,
        "artifact_id": 2,
        "subject_artifact_id": 1,
        "subject_artifact_digest": subject.digest,
        "subject_artifact_repo": HERE,
        "size": len(accessory.body) + 2,
        "digest": accessory.digest,
        "type": expected,
    }
    (listed,) = (await api.get(api.of(HERE) + "?with_accessory=true"))[0]["accessories"]
    assert listed["digest"] == accessory.digest


async def test_a_nydus_image_hangs_on_its_source(api) -> None:
    subject = await api.push(HERE, "v1")
    layer = blob(b"bootstrap")
    described = layer.descriptor(annotations={"containerd.io/snapshot/nydus-bootstrap": "true"})
    await pushed(api, None, EMPTY, described, blobs=[layer], subject=subject.descriptor())
    (found,) = await api.get(api.of(HERE, "v1", "accessories"))
    assert found["type"] == "accelerator.nydus"


async def test_a_signature_by_its_tag(api) -> None:
    """How cosign signs where a registry knows no referrers."""
    subject = await api.push(HERE, "v1")
    tag = f"sha256-{subject.digest.partition(':')[2]}.sig"
    signature = await pushed(api, tag, EMPTY, Content(COSIGN, b"signed"))
    (found,) = await api.get(api.of(HERE, "v1", "accessories"))
    assert (found["type"], found["digest"]) == ("signature.cosign", signature.digest)
    assert await api.names(api.of(HERE)) == [subject.digest]
    await api.call("POST", api.of("other/copy") + f"?from={HERE}:v1", 201)
    assert len(await api.get(api.of("other/copy", "v1", "accessories"))) == 1
    expect(await api.client.get_manifest("other/copy", tag), 200)
    await api.call("DELETE", api.of(HERE, "v1"))
    assert await api.names(api.of(HERE) + "?q=base%3D*") == []


async def test_a_tag_alone_makes_no_signature(api) -> None:
    subject = await api.push(HERE, "v1")
    await api.push(HERE, f"sha256-{subject.digest.partition(':')[2]}.sig")
    assert await api.get(api.of(HERE, "v1", "accessories")) == []
    assert len(await api.names(api.of(HERE))) == 2


async def test_a_signature_that_gets_its_tag_later(api) -> None:
    subject = await api.push(HERE, "v1")
    signature = await pushed(api, None, EMPTY, Content(COSIGN, b"signed"))
    assert len(await api.names(api.of(HERE))) == 2
    expect(await api.client.put_manifest(HERE, f"sha256-{subject.digest.partition(':')[2]}.sig", signature), 201)
    assert await api.names(api.of(HERE)) == [subject.digest]


async def test_children_inherit_the_signatures_of_their_index(api) -> None:
    child = await api.push(HERE, "child")
    whole = await api.push_index(HERE, "multi", child)
    signature = await pushed(api, None, conf("application/vnd.cncf.notary.signature", {}), subject=whole.descriptor())
    await pushed(api, None, conf("application/vnd.acme+json", {}), subject=whole.descriptor())
    found = await api.get(api.of(HERE, "child") + "?with_inherited_accessory=true&with_accessory=true")
    assert found["accessories"] == []
    (inherited,) = found["inherited_accessories"]
    assert (inherited["digest"], inherited["subject_artifact_digest"]) == (signature.digest, whole.digest)


async def test_accessories_have_pages(api) -> None:
    subject = await api.push(HERE, "v1")
    made = [await api.push(HERE, None, subject=subject.descriptor()) for _ in range(3)]
    answer = await api.answer("GET", api.of(HERE, "v1", "accessories") + "?page_size=2")
    assert [each["digest"] for each in answer.json()] == [made[2].digest, made[1].digest]
    assert answer.headers["x-total-count"] == "3"


# ---- additions ----


async def test_how_an_image_was_built(api) -> None:
    history = [{"created": "2026-01-01T00:00:00Z", "created_by": "RUN true"}]
    await api.push(HERE, "v1", {"history": history})
    answer = await api.answer("GET", api.of(HERE, "v1", "additions", "build_history"))
    assert expect(answer, 200).json() == history
    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in answer.headers["content-security-policy"]


async def chart(api, archive: bytes, said: Any = None) -> None:
    await pushed(api, "v1", conf(HELM, said or {"name": "app"}), Content(CHART, archive))


async def test_a_chart(api) -> None:
    archive = packed(
        ("app/charts/inner/values.yaml", b"inner: true"),
        ("app/Chart.yaml", b"name: app"),
        ("app/values.yaml", b"replicas: 2"),
        ("app/README.md", b"# <script>app</script>"),
    )
    wanted = [{"name": "db", "version": "1", "repository": "oci://charts", "condition": "db.enabled"}, "not one"]
    await chart(api, archive, {"name": "app", "dependencies": wanted})
    found = await api.get(api.of(HERE, "v1"))
    assert set(found["addition_links"]) == {"values.yaml", "readme.md", "dependencies"}
    answers = {name: await api.answer("GET", link["href"]) for name, link in found["addition_links"].items()}
    assert answers["values.yaml"].content == b"replicas: 2"
    assert answers["values.yaml"].headers["content-type"] == "text/plain; charset=utf-8"
    assert answers["readme.md"].content == b"# <script>app</script>"
    assert answers["readme.md"].headers["content-type"] == "text/markdown; charset=utf-8"
    assert answers["dependencies"].json() == [{"name": "db", "version": "1", "repository": "oci://charts"}]


def bomb() -> bytes:
    """A small archive of a very large nothing before the file that is looked for."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz", compresslevel=9) as tar:
        info = tarfile.TarInfo("app/large")
        info.size = 80 * 1024 * 1024
        tar.addfile(info, Zeros())
        info = tarfile.TarInfo("app/values.yaml")
        tar.addfile(info)
    return out.getvalue()


class Zeros(io.RawIOBase):
    def read(self, size: int = -1) -> bytes:
        return bytes(size)


@pytest.mark.parametrize(
    "archive",
    [
        pytest.param(bomb(), id="bomb"),
        pytest.param(packed(("app/values.yaml", bytes(5 * 1024 * 1024))), id="large file"),
        pytest.param(
            packed(*[(f"app/{number}", b"") for number in range(10_001)], ("app/values.yaml", b"")), id="many"
        ),
        pytest.param(packed(("../values.yaml", b"out")), id="traversal"),
        pytest.param(packed(("/values.yaml", b"out")), id="absolute"),
        pytest.param(packed(("app/../values.yaml", b"out"), ("./values.yaml", b"out")), id="dots"),
        pytest.param(packed(("app/Chart.yaml", b"")), id="none"),
        pytest.param(packed(("app/values.yaml", b"x"))[:-20], id="cut off"),
        pytest.param(b"no archive", id="no archive"),
        pytest.param(gzip.compress(b"no tar" * 1000), id="no tar"),
        pytest.param(b"", id="empty"),
    ],
)
async def test_hostile_charts(api, archive: bytes) -> None:
    await chart(api, archive)
    answer = await api.answer("GET", api.of(HERE, "v1", "additions", "values.yaml"))
    assert expect(answer, 404).json()["errors"][0]["code"] == "NOT_FOUND"


async def test_links_in_a_chart_lead_nowhere(api) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
            info = tarfile.TarInfo("app/values.yaml")
            info.type, info.linkname = kind, "/etc/passwd"
            tar.addfile(info)
    await chart(api, out.getvalue())
    await api.get(api.of(HERE, "v1", "additions", "values.yaml"), 404)


async def test_a_model(api) -> None:
    def file(kind: str, body: bytes, path: str) -> tuple[Content, Any]:
        content = Content(f"application/vnd.cncf.model.{kind}", body)
        return content, content.descriptor(annotations={"org.cncf.model.filepath": path})

    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        info = tarfile.TarInfo("LICENSE")
        info.size = 3
        tar.addfile(info, io.BytesIO(b"MIT"))
    files = [
        file("doc.v1.raw", b"# Model", "README.md"),
        file("doc.v1.tar", out.getvalue(), "LICENSE"),
        file("weight.v1.raw", b"12345", "weights/part/one.bin"),
    ]
    await pushed(api, "v1", conf(MODEL, {}), *[each[1] for each in files], blobs=[each[0] for each in files])
    links = (await api.get(api.of(HERE, "v1")))["addition_links"]
    assert (await api.answer("GET", links["readme.md"]["href"])).content == b"# Model"
    assert (await api.answer("GET", links["license"]["href"])).content == b"MIT"
    found = (await api.answer("GET", links["files"]["href"])).json()
    assert found[0]["name"] == "LICENSE"
    assert found[1] == {"name": "README.md", "type": "file", "size": 7}
    (part,) = found[2]["children"]
    assert part == {
        "name": "part",
        "type": "directory",
        "children": [{"name": "one.bin", "type": "file", "size": 5}],
    }


async def test_an_sbom(api) -> None:
    subject = await api.push(HERE, "v1")
    assert "sbom" not in (await api.get(api.of(HERE, "v1")))["addition_links"]
    await api.get(api.of(HERE, "v1", "additions", "sbom"), 404)
    said = Content("application/spdx+json", b'{"spdxVersion": "SPDX-2.3"}')
    made = await pushed(api, None, conf(SBOM, {}), said, subject=subject.descriptor())
    link = (await api.get(api.of(HERE, "v1")))["addition_links"]["sbom"]["href"]
    assert (await api.answer("GET", link)).json() == {"spdxVersion": "SPDX-2.3"}
    assert (await api.answer("GET", api.of(HERE, made.digest, "additions", "sbom"))).content == said.body


async def test_an_addition_that_is_none(api) -> None:
    child = await api.push(HERE, "v1")
    await api.push_index(HERE, "multi", child)
    await api.get(api.of(HERE, "v1", "additions", "values.yaml"), 400)
    await api.get(api.of(HERE, "multi", "additions", "build_history"), 400)
    await api.get(api.of(HERE, "v1", "additions", "nonsense"), 422)


# ---- icons ----


async def test_every_type_has_an_icon(api, as_nobody) -> None:
    seen = set()
    for number, kind in enumerate((HELM, MODEL, SBOM, "application/vnd.oci.image.config.v1+json", "application/x")):
        await pushed(api, f"v{number}", conf(kind, {}))
        seen.add((await api.get(api.of(HERE, f"v{number}")))["icon"])
    assert len(seen) == 5
    for digest in seen:
        found = await as_nobody.get(f"/icons/{digest}")
        assert found["content-type"] == "image/svg+xml"
        assert base64.b64decode(found["content"]).startswith(b"<svg ")


async def test_an_icon_of_its_own(api, as_guest, as_nobody) -> None:
    for project in ("library", "secret"):
        picture = Content("image/png", PNG + project.encode())
        described = picture.descriptor(annotations={"io.goharbor.artifact.v1alpha1.icon": ""})
        config = conf("application/vnd.acme.rocket.config.v1+json", {})
        await api.client.push(f"{project}/app", "v1", image(config, [described]), config, picture)
        assert (await api.get(api.of(f"{project}/app", "v1")))["icon"] == picture.digest
        found = await api.get(f"/icons/{picture.digest}")
        assert (found["content-type"], base64.b64decode(found["content"])) == ("image/png", picture.body)
        await as_guest.get(f"/icons/{picture.digest}", 200 if project == "library" else 404)
        await as_nobody.get(f"/icons/{picture.digest}", 404)


@pytest.mark.parametrize("body", [b"<svg onload='alert(1)'/>", b"<html>", PNG + bytes(1024 * 1024), b""])
async def test_an_icon_that_is_no_picture(api, body: bytes) -> None:
    picture = Content("image/png", body)
    described = picture.descriptor(annotations={"io.goharbor.artifact.v1alpha1.icon": ""})
    await pushed(api, "v1", EMPTY, described, blobs=[picture])
    await api.get(f"/icons/{picture.digest}", 404)


async def test_a_layer_is_no_icon(api) -> None:
    layer = blob(PNG)
    await pushed(api, "v1", EMPTY, layer)
    await api.get(f"/icons/{layer.digest}", 404)
    await api.get("/icons/nonsense", 400)

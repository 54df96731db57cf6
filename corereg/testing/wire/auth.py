"""Who may ask: challenges, credentials, tokens."""

from __future__ import annotations

import base64
import re
from urllib.parse import quote, urlsplit
from uuid import uuid4

import httpx2

from corereg.testing.client import EMPTY, RegistryClient, challenges, error_codes, expect
from corereg.testing.wire.answers import check_envelope
from corereg.testing.wire.forgery import forge, part
from corereg.testing.wire.protocol import ABSENT, JSON, Protocol, cases, needs
from corereg.testing.wire.requests import at, uploads


async def realm_of(anonymous: RegistryClient, target: str = "/v2/") -> tuple[str, list[tuple[str, str]]]:
    """Where to ask for a token, and for which service."""
    [challenge] = challenges(expect(await anonymous.request("GET", target), 401))
    return challenge.parameters["realm"], [("service", challenge.parameters["service"])]


async def token_for(client: RegistryClient, anonymous: RegistryClient, *scopes: str) -> JSON:
    """A token for these scopes, with what comes along."""
    realm, service = await realm_of(anonymous)
    answer = await client.token(realm, service + [("scope", scope) for scope in scopes])
    said: JSON = expect(answer, 200).json()
    return said


async def post_for_token(anonymous: RegistryClient, **fields: str) -> httpx2.Response:
    """POST a form to the token service."""
    realm, service = await realm_of(anonymous)
    form = "&".join(f"{name}={quote(value, safe='')}" for name, value in [*service, *fields.items()])
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    return await anonymous.request("POST", realm, headers=headers, content=form.encode())


class AuthWire(Protocol):
    """Challenges, tokens, and what they open."""

    # Strangers

    @needs("auth")
    async def test_a_stranger_at_the_base_is_401_with_challenge_and_version(self, anonymous: RegistryClient) -> None:
        answer = expect(await anonymous.request("GET", "/v2/"), 401, code="UNAUTHORIZED")
        assert answer.headers["www-authenticate"]
        assert answer.headers["docker-distribution-api-version"] == "registry/2.0"
        check_envelope(answer)

    @needs("auth", "token")
    async def test_a_challenge_is_one_header_bearer_first_and_never_says_basic(self, anonymous: RegistryClient) -> None:
        for target in ("/v2/", "/v2/wire/absent/tags/list"):
            answer = expect(await anonymous.request("GET", target), 401)
            [header] = answer.headers.get_list("www-authenticate")
            assert header.startswith("Bearer ")
            assert "basic" not in header.lower()
            [challenge] = challenges(answer)
            assert urlsplit(challenge.parameters["realm"]).scheme in ("http", "https")
            assert challenge.parameters["service"]

    @needs("auth", "token")
    @cases(
        ("method", "path", "actions"),
        [
            ("GET", "manifests/latest", {"pull"}),
            ("HEAD", "manifests/latest", {"pull"}),
            ("GET", "blobs/" + ABSENT, {"pull"}),
            ("GET", "tags/list", {"pull"}),
            ("GET", "referrers/" + ABSENT, {"pull"}),
            ("PUT", "manifests/latest", {"pull", "push"}),
            ("POST", "blobs/uploads/", {"pull", "push"}),
            ("DELETE", "manifests/latest", {"delete"}),
            ("DELETE", "blobs/" + ABSENT, {"delete"}),
        ],
    )
    async def test_a_challenge_names_the_scope_that_is_needed(
        self, anonymous: RegistryClient, repository: str, method: str, path: str, actions: set[str]
    ) -> None:
        answer = expect(await anonymous.request(method, f"/v2/{repository}/{path}"), 401)
        [scope] = challenges(answer)[0].scopes
        kind, name, said = scope.split(":")
        assert (kind, name) == ("repository", repository)
        assert actions <= set(said.split(","))
        assert "delete" in actions or "delete" not in said

    @needs("auth", "token")
    async def test_the_challenge_of_a_mount_names_both_repositories(
        self, anonymous: RegistryClient, repository: str
    ) -> None:
        target = f"{uploads(repository)}?mount={ABSENT}&from={repository}/source"
        answer = expect(await anonymous.request("POST", target), 401)
        scopes = challenges(answer)[0].scopes
        assert any(scope.startswith(f"repository:{repository}:") and "push" in scope for scope in scopes)
        assert f"repository:{repository}/source:pull" in scopes

    @needs("auth", "token", "catalog")
    async def test_the_challenge_of_the_catalog_names_its_scope(self, anonymous: RegistryClient) -> None:
        answer = expect(await anonymous.request("GET", "/v2/_catalog"), 401)
        assert challenges(answer)[0].scopes == ("registry:catalog:*",)

    @needs("auth")
    async def test_a_stranger_cannot_tell_what_exists(
        self, client: RegistryClient, anonymous: RegistryClient, repository: str
    ) -> None:
        manifest = await client.push_image(repository, "latest")
        for path in ("tags/list", "manifests/latest", f"manifests/{manifest.digest}", f"blobs/{EMPTY.digest}"):
            here = await anonymous.request("GET", f"/v2/{repository}/{path}")
            there = await anonymous.request("GET", f"/v2/{repository}/absent/{path}")
            assert expect(here, 401).text.replace(repository, "") == expect(there, 401).text.replace(
                f"{repository}/absent", ""
            )

    @needs("auth", "grammar_first")
    @cases(
        ("method", "path"),
        [
            ("GET", "{r}/UPPER/tags/list"),
            ("GET", "{r}/manifests/sha256:totallywrong"),
            ("GET", "{r}/blobs/sha256:totallywrong"),
            ("PUT", "{r}/manifests/-a"),
        ],
    )
    async def test_bad_grammar_is_400_before_anybody_is_asked_who_he_is(
        self, anonymous: RegistryClient, repository: str, method: str, path: str
    ) -> None:
        expect(await anonymous.request(method, "/v2/" + path.format(r=repository)), 400)

    @needs("auth")
    async def test_a_stranger_is_401_before_state_and_body_are_looked_at(
        self, client: RegistryClient, anonymous: RegistryClient, repository: str
    ) -> None:
        location = await client.start_upload(repository)
        for method, target in (
            ("PUT", at(repository, "manifests", "latest")),
            ("PATCH", location),
            ("GET", location),
            ("DELETE", location),
            ("PUT", location),
            ("POST", uploads(repository) + f"?digest={ABSENT}"),
        ):
            expect(await anonymous.request(method, target, headers={"Content-Range": "5-9"}), 401)

    # Somebody without rights

    @needs("auth")
    async def test_somebody_without_rights_cannot_tell_what_exists(
        self, client: RegistryClient, other: RegistryClient, repository: str
    ) -> None:
        await client.push_image(repository, "latest")
        for path in ("tags/list", "manifests/latest", f"blobs/{EMPTY.digest}"):
            here = expect(await other.request("GET", f"/v2/{repository}/{path}"), 401, 403, 404)
            there = expect(await other.request("GET", f"/v2/{repository}/absent/{path}"), 401, 403, 404)
            assert here.status_code == there.status_code
            assert here.text.replace(repository, "") == there.text.replace(f"{repository}/absent", "")

    @needs("auth")
    async def test_a_push_without_rights_is_403_denied_with_a_sentence(
        self, other: RegistryClient, repository: str
    ) -> None:
        answer = expect(await other.request("POST", uploads(repository)), 403, code="DENIED")
        check_envelope(answer)
        assert len(answer.json()["errors"][0]["message"].split()) > 2

    # Credentials

    @needs("auth", "basic")
    async def test_basic_credentials_open_every_path(self, client: RegistryClient, repository: str) -> None:
        assert client.credentials is not None
        headers = {"Authorization": client.credentials.basic}
        expect(await client.request("GET", "/v2/", headers=headers), 200)
        expect(await client.request("POST", uploads(repository), headers=headers), 202)

    @needs("auth")
    @cases(
        "value",
        [
            "Bearer",
            "Bearer x",
            "Bearer x.y.z",
            "Bearer " + "a" * 5000,
            "Bearer e30.e30.",
            "Basic",
            "Basic !!!",
            "Basic " + base64.b64encode(b"nocolon").decode(),
            "Basic " + base64.b64encode(b"\xff\xfe:\xff").decode(),
            "Basic " + base64.b64encode(b"nobody-of-that-name:wrong").decode(),
            "Basic " + base64.b64encode(b":").decode(),
            "Digest username=x",
            "nonsense",
            "Bearer \u00e4",
        ],
    )
    async def test_credentials_that_are_none_are_401(self, anonymous: RegistryClient, value: str) -> None:
        answer = await anonymous.request("GET", "/v2/", headers={"Authorization": value.encode().decode("latin-1")})
        expect(answer, 401, 400, 429) if len(value) < 5000 else expect(answer, 401, 400, 431)
        if answer.status_code == 401:
            assert answer.headers["www-authenticate"]

    @needs("auth", "token")
    async def test_a_token_comes_with_its_life_in_the_documents_form(
        self, client: RegistryClient, anonymous: RegistryClient, repository: str
    ) -> None:
        said = await token_for(client, anonymous, f"repository:{repository}:pull")
        assert said["token"] == said["access_token"]
        assert said["expires_in"] >= 60
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", said["issued_at"])

    @needs("auth", "token", "jwt")
    async def test_a_token_is_a_jwt_with_the_documents_claims(
        self, client: RegistryClient, anonymous: RegistryClient, repository: str
    ) -> None:
        said = await token_for(client, anonymous, f"repository:{repository}:pull,push")
        header, claims = part(said["token"], 0), part(said["token"], 1)
        assert header["typ"] == "JWT"
        assert header["alg"] not in ("none", "HS256")
        assert {"kid", "jwk", "x5c"} & set(header)
        assert {"iss", "sub", "aud", "exp", "nbf", "iat", "jti", "access"} <= set(claims)
        assert claims["exp"] > claims["iat"]
        [access] = claims["access"]
        assert (access["type"], access["name"]) == ("repository", repository)
        assert set(access["actions"]) == {"pull", "push"}

    @needs("auth", "token", "jwt")
    async def test_a_token_holds_what_may_be_granted_of_what_was_asked(
        self, client: RegistryClient, anonymous: RegistryClient, repository: str
    ) -> None:
        said = await token_for(client, anonymous, f"repository:{repository}:pull,dance", "nonsense:x:y")
        granted = {(each["name"], action) for each in part(said["token"], 1)["access"] for action in each["actions"]}
        assert granted == {(repository, "pull")}

    @needs("auth", "token")
    async def test_several_scopes_come_in_one_token(
        self, client: RegistryClient, anonymous: RegistryClient, repository: str
    ) -> None:
        names = [f"{repository}/a", f"{repository}/b"]
        for name in names:
            await client.push_image(name, "latest")
        said = await token_for(client, anonymous, *(f"repository:{name}:pull" for name in names))
        headers = {"Authorization": f"Bearer {said['token']}"}
        for name in names:
            expect(await anonymous.request("GET", f"/v2/{name}/tags/list", headers=headers), 200)

    @needs("auth", "token")
    @cases(
        "scope",
        [
            "repository:host.test:5000/a/b:pull",
            "repository(plugin):a/b:pull",
            "repository:a/b:*",
            "repository:a/b",
            "repository",
            "",
            ":::",
            "repository::pull",
            "registry:catalog:*",
            "repository:UPPER:pull",
            "repository:a/b:" + ",".join(["pull"] * 1000),
            "repository:%00:pull",
            "ä:ö:ü",
        ],
    )
    async def test_no_scope_is_too_odd_for_the_token_service(
        self, client: RegistryClient, anonymous: RegistryClient, scope: str
    ) -> None:
        realm, service = await realm_of(anonymous)
        expect(await client.token(realm, [*service, ("scope", scope)]), 200, 400)

    @needs("auth", "token")
    async def test_a_wrong_password_is_401_with_a_sentence(
        self, client: RegistryClient, anonymous: RegistryClient
    ) -> None:
        realm, service = await realm_of(anonymous)
        wrong = base64.b64encode(f"nobody-{uuid4()}:wrong".encode()).decode()
        target = f"{realm}?service={quote(service[0][1])}"
        answer = await anonymous.request("GET", target, headers={"Authorization": f"Basic {wrong}"})
        if expect(answer, 401, 429).status_code == 401:
            assert error_codes(answer) == ["UNAUTHORIZED"]
            assert len(answer.json()["errors"][0]["message"].split()) > 2

    @needs("auth", "token")
    async def test_a_token_for_one_repository_opens_no_other(
        self, client: RegistryClient, anonymous: RegistryClient, repository: str
    ) -> None:
        await client.push_image(repository, "latest")
        await client.push_image(f"{repository}/other", "latest")
        said = await token_for(client, anonymous, f"repository:{repository}:pull")
        headers = {"Authorization": f"Bearer {said['token']}"}
        expect(await anonymous.request("GET", f"/v2/{repository}/tags/list", headers=headers), 200)
        answer = expect(await anonymous.request("GET", f"/v2/{repository}/other/tags/list", headers=headers), 401)
        assert challenges(answer)[0].parameters["error"] == "insufficient_scope"
        assert challenges(answer)[0].scopes == (f"repository:{repository}/other:pull",)

    @needs("auth", "token")
    async def test_a_token_for_pulls_pushes_and_deletes_nothing(
        self, client: RegistryClient, anonymous: RegistryClient, repository: str
    ) -> None:
        await client.push_image(repository, "latest")
        said = await token_for(client, anonymous, f"repository:{repository}:pull")
        headers = {"Authorization": f"Bearer {said['token']}"}
        for method, target in (
            ("POST", uploads(repository)),
            ("PUT", at(repository, "manifests", "latest")),
            ("DELETE", at(repository, "manifests", "latest")),
        ):
            expect(await anonymous.request(method, target, headers=headers), 401)

    @needs("auth", "token", "jwt")
    @cases("trick", ["none", "None", "signature", "claims", "hs256", "jwk", "jku", "kid", "typ", "four parts"])
    async def test_a_forged_token_is_401_invalid_token(
        self, client: RegistryClient, anonymous: RegistryClient, repository: str, trick: str
    ) -> None:
        await client.push_image(repository, "latest")
        said = await token_for(client, anonymous, f"repository:{repository}:pull")
        forged = forge(said["token"], trick)
        headers = {"Authorization": f"Bearer {forged}"}
        answer = expect(await anonymous.request("GET", f"/v2/{repository}/tags/list", headers=headers), 401)
        assert challenges(answer)[0].parameters["error"] == "invalid_token"

    @needs("auth", "token", "oauth2")
    async def test_a_posted_password_gives_a_token_that_works(
        self, client: RegistryClient, anonymous: RegistryClient, repository: str
    ) -> None:
        await client.push_image(repository, "latest")
        assert client.credentials is not None
        scope = f"repository:{repository}:pull"
        said = expect(
            await post_for_token(
                anonymous,
                grant_type="password",
                client_id="wire",
                username=client.credentials.name,
                password=client.credentials.password,
                scope=scope,
                access_type="offline",
            ),
            200,
        ).json()
        assert said["access_token"]
        assert said["expires_in"] >= 60
        assert said["scope"] == scope
        headers = {"Authorization": f"Bearer {said['access_token']}"}
        expect(await anonymous.request("GET", f"/v2/{repository}/tags/list", headers=headers), 200)
        if refresh := said.get("refresh_token"):
            again = await post_for_token(
                anonymous, grant_type="refresh_token", client_id="wire", refresh_token=refresh, scope=scope
            )
            assert expect(again, 200).json()["access_token"]

    @needs("auth", "token", "oauth2")
    @cases(
        "fields",
        [
            {},
            {"grant_type": "dance"},
            {"grant_type": "password", "username": "nobody-of-that-name", "password": "wrong"},
            {"grant_type": "password"},
            {"grant_type": "refresh_token", "refresh_token": "x"},
            {"grant_type": "refresh_token"},
        ],
    )
    async def test_a_post_for_a_token_that_asks_wrongly_is_refused(
        self, anonymous: RegistryClient, fields: dict[str, str]
    ) -> None:
        expect(await post_for_token(anonymous, client_id="wire", **fields), 400, 401, 429)

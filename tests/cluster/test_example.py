"""examples/cluster: the script does what it prints, and the manifests say what corereg and nginx understand."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml

from corereg import Config
from examples.cluster import cluster as example
from tests.clients.tools import clean_environment
from tests.crash.client import digest

from .nodes import client, token

FOLDER = Path(example.__file__).parent
COMPOSE = yaml.safe_load((FOLDER / "compose.yaml").read_text())
KUBERNETES = {each["kind"]: each for each in yaml.safe_load_all((FOLDER / "kubernetes.yaml").read_text())}
NODES = ("node1", "node2", "node3")


def test_the_script(nginx: str) -> None:
    process = subprocess.Popen(
        [sys.executable, example.__file__], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env=clean_environment(), start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    said: list[str] = []
    try:
        for line in process.stdout:
            said.append(line)
            if line.startswith("Kill one node"):
                break
        text = "".join(said)
        found = re.search(r"registry +(http://localhost:\d+).*\n +password +(\S+)", text)
        assert found, text
        url, password = found.groups()
        assert text.count(password) == 1
        bearer = token(url, "repository:library/app:pull,push", password=password)
        with client(url, bearer) as http:
            data = os.urandom(100_000)
            start = http.post("/v2/library/app/blobs/uploads/")
            assert http.put(start.headers["location"], params={"digest": digest(data)}, content=data).status_code == 201
            answers = [http.get(f"/v2/library/app/blobs/{digest(data)}", follow_redirects=True) for _ in range(3)]
            assert [answer.content for answer in answers] == [data] * 3
        folder = Path(re.search(r"logs +(\S+)/\*\.log", text)[1])  # type: ignore[index]  # a failure is one
        logs = "".join(path.read_text() for path in folder.glob("node*.log"))
        assert password not in logs
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=90)
        assert process.returncode == 0, rest
        assert rest.endswith("Stopped; nothing is left.\n")
        assert not folder.exists()
        with pytest.raises(httpx2.ConnectError):
            httpx2.get(url)
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


# ---- the manifests ----


def known(environment: dict[str, Any]) -> None:
    """Every variable is a key of the core's or of a first-party plugin's configuration, and its value is taken."""
    given = {name: re.sub(r"\$\{\w+:?[-?]([^}]*)\}", r"\1", str(value)) for name, value in environment.items()}
    assert all(name.startswith("COREREG__") for name in given)
    config = Config.load(environment=given)
    plugins = {entry.name: entry for entry in entry_points(group="corereg")}
    for name, table in config.tables.items():
        if name == "storage_s3" and name not in plugins:
            continue
        config.settings(name, plugins[name].load().Settings)
        assert table


def test_compose_names_what_there_is() -> None:
    services = COMPOSE["services"]
    assert set(NODES) < set(services)
    for name in NODES:
        node = services[name]
        known(node["environment"])
        assert set(node["depends_on"]) <= set(services)
        assert set(node["secrets"]) <= set(COMPOSE["secrets"])
        assert (FOLDER / node["build"]["context"] / node["build"]["dockerfile"]).resolve() == FOLDER / "Dockerfile"
    for mount in services["proxy"]["volumes"]:
        source, _, _ = mount.partition(":")
        assert (FOLDER / source).is_file()
    upstream = re.findall(r"server (\w+):(\d+)", (FOLDER / "nginx.conf").read_text())
    assert upstream == [(name, "8080") for name in NODES]
    assert services["proxy"]["ports"][0].endswith(":8080")
    assert {secret["environment"] for secret in COMPOSE["secrets"].values()} == {"DATABASE_PASSWORD"}
    network = COMPOSE["networks"]["cluster"]["ipam"]["config"][0]["subnet"]
    assert services["node1"]["environment"]["COREREG__SERVER__TRUSTED_PROXIES"] == network


def test_nobodys_password_stands_in_a_manifest() -> None:
    for path in FOLDER.iterdir():
        if path.suffix not in {".yaml", ".conf"} and path.name != "Dockerfile":
            continue
        for line in path.read_text().splitlines():
            named = re.search(r"(?i)(password|secret_key|access_key)\w*: *(.*)", line.partition("#")[0])
            if named and named[2]:
                assert named[2].startswith(("${", "/run/secrets/")) or "_password" in named[2] or named[2] == "{", line
    assert "Secret" not in KUBERNETES


def test_kubernetes_names_what_there_is() -> None:
    known(KUBERNETES["ConfigMap"]["data"])
    deployment = KUBERNETES["Deployment"]["spec"]
    assert deployment["replicas"] == 3
    pod = deployment["template"]["spec"]
    [container] = pod["containers"]
    labels = deployment["template"]["metadata"]["labels"]
    for selector in (
        deployment["selector"]["matchLabels"],
        KUBERNETES["Service"]["spec"]["selector"],
        KUBERNETES["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
    ):
        assert selector == labels
    [port] = container["ports"]
    assert str(port["containerPort"]) == KUBERNETES["ConfigMap"]["data"]["COREREG__SERVER__PORT"]
    for probe in ("startupProbe", "readinessProbe"):
        assert container[probe]["httpGet"] == {"path": "/healthz", "port": port["name"]}
    assert KUBERNETES["Service"]["spec"]["ports"][0]["targetPort"] == port["name"]
    backend = KUBERNETES["Ingress"]["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]
    assert backend["name"] == KUBERNETES["Service"]["metadata"]["name"]
    assert backend["port"]["name"] == KUBERNETES["Service"]["spec"]["ports"][0]["name"]
    data = KUBERNETES["ConfigMap"]["data"]
    before = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    timeout = Config.load(environment=data).server.shutdown_timeout
    assert pod["terminationGracePeriodSeconds"] > before + timeout
    secrets = re.findall(r"--from-literal=(\w+)=", (FOLDER / "README.md").read_text())
    assert len(secrets) == 3
    known(dict.fromkeys(secrets, "postgresql://user@host/name"))


def test_the_ingress_says_what_the_proxy_says() -> None:
    prefix = "nginx.ingress.kubernetes.io/"
    said = dict(
        re.findall(r"^(?:proxy|client_max)_(\w+) +([^;]+?)s?;", (FOLDER / "proxy.conf").read_text(), re.MULTILINE)
    )
    for name, value in KUBERNETES["Ingress"]["metadata"]["annotations"].items():
        assert said[name.removeprefix(prefix).removeprefix("proxy-").replace("-", "_")] == value


def test_nginx_takes_the_configuration_of_compose(nginx: str, tmp_path: Path) -> None:
    text = (FOLDER / "nginx.conf").read_text().replace("/etc/nginx/proxy.conf", str(FOLDER / "proxy.conf"))
    text = re.sub(r"node\d:8080", "127.0.0.1:8080", text)  # a name is looked up when nginx reads it
    (tmp_path / "nginx.conf").write_text(f"pid {tmp_path}/pid;\n{text}")
    done = subprocess.run(
        [nginx, "-t", "-c", str(tmp_path / "nginx.conf"), "-e", str(tmp_path / "log")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr

"""What a key may see and call through the gateway, and what is open to everybody."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from fastapi.testclient import TestClient

from harness.serve.gateway.access import KeyAccess
from harness.serve.gateway.keys import KeyFile
from harness.serve.gateway.lifecycle import Lifecycle
from harness.serve.gateway.parts import Parts
from harness.serve.gateway.routes import create_app
from harness.serve.gateway.served import LoadedModel
from tests.serve.gateways import ERROR, MODEL, Echo, Spelling, Watcher, post

CHAT, COMPLETIONS, EMBEDDINGS, FEEDBACK = "chat/completions", "completions", "embeddings", "feedback"


class Figures:
    """Metrics that say one thing."""

    content_type = "text/plain; version=1"

    def render(self) -> bytes:
        """It."""
        return b"up 1\n"

    def shadow_dropped(self, app: str) -> None:
        """Nothing."""


@pytest.fixture
def keys(tmp_path: Any) -> dict[str, str]:
    """Secrets: for everything, for the app ``echo``, for the model ``m``, of an operator; in ``keys.yaml``."""
    file = KeyFile(tmp_path / "keys.yaml")
    secrets = {}
    for name, models, role in (("all", ["*"], "user"), ("echo", ["echo"], "user"), ("m", ["m"], "user"),
                               ("operator", ["*"], "operator")):  # fmt: skip
        file, secrets[name] = file.add(models=models, role=role)  # type: ignore[arg-type]
    return secrets


@pytest.fixture
def watcher() -> Watcher:
    """Who is told of requests."""
    return Watcher()


@pytest.fixture
def client(keys: dict[str, str], tmp_path: Any, watcher: Watcher) -> Iterator[TestClient]:
    """A gateway that asks for those keys."""
    models = {"m": LoadedModel("m", MODEL, Spelling()), f"m@{MODEL[:12]}": LoadedModel("m", MODEL, Spelling())}
    apps = {"echo": Echo(), "echo@b": Echo("echo"), "other": Echo("other")}
    parts = Parts(KeyAccess(tmp_path / "keys.yaml"), figures=Figures(), observers=(watcher,))
    with TestClient(create_app(models, apps, parts)) as client:
        yield client


def bearing(secret: str) -> Mapping[str, str]:
    """The header."""
    return {"authorization": f"Bearer {secret}"}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/chat/completions"), ("POST", "/v1/completions"), ("POST", "/v1/embeddings"),
        ("GET", "/v1/models"), ("GET", "/v1/models/m"), ("GET", "/metrics"), ("GET", "/admin/status"),
    ],
)  # fmt: skip
def test_nothing_is_open(client: TestClient, method: str, path: str) -> None:
    """Without a key every route is a 401 in OpenAI's shape, whatever else is wrong with the request."""
    for headers in ({}, bearing("so-wrong"), {"authorization": "Basic YTpi"}):
        answer = client.request(method, path, headers=headers, content=b"{")
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
        assert answer.json()["error"].keys() == ERROR
        assert answer.headers["x-request-id"]


@pytest.mark.parametrize("path", ["/health", "/ready"])
def test_probes_are_open(client: TestClient, path: str) -> None:
    """Whoever watches the server needs no key."""
    assert client.get(path).status_code == 200


@pytest.mark.parametrize(
    ("name", "seen"),
    [("all", {"m", "echo", "other"}), ("echo", {"echo"}), ("m", {"m"}), ("operator", {"m", "echo", "other"})],
)
def test_a_key_sees_what_it_may_call(client: TestClient, keys: dict[str, str], name: str, seen: set[str]) -> None:
    """The list holds what the key may call, under stable names; nothing else can be looked up."""
    headers = bearing(keys[name])
    assert {card["id"] for card in client.get("/v1/models", headers=headers).json()["data"]} == seen
    for each in ("m", "echo", "other"):
        assert client.get(f"/v1/models/{each}", headers=headers).status_code == (200 if each in seen else 404)


def test_what_may_not_be_called_looks_as_if_it_were_not_there(client: TestClient, keys: dict[str, str]) -> None:
    """Another app, an arm of the own one and a name that nobody has get the same answer."""
    headers = bearing(keys["echo"])
    assert post(client, model="echo", headers=headers).status_code == 200
    texts = set()
    for name in ("other", "m", "echo@b", "nobody", "m@mmmmmmmmmmmm"):
        answer = post(client, model=name, headers=headers)
        assert answer.status_code == 404
        texts.add(answer.text.replace(f"`{name}`", ""))
    assert len(texts) == 1


def test_a_key_for_a_model_may_name_its_bytes(client: TestClient, keys: dict[str, str]) -> None:
    """Who may call a model may also insist on exactly this one."""
    name = f"m@{MODEL[:12]}"
    assert post(client, model=name, headers=bearing(keys["m"])).status_code == 200
    assert client.get(f"/v1/models/{name}", headers=bearing(keys["m"])).json()["digest"] == MODEL


def test_operating_is_for_operators(client: TestClient, keys: dict[str, str]) -> None:
    """Metrics, status and traces of an app's steps need the role operator."""
    for path in ("/metrics", "/admin/status"):
        assert client.get(path, headers=bearing(keys["all"])).status_code == 403
        assert client.get(path, headers=bearing(keys["operator"])).status_code == 200
    assert client.get("/metrics", headers=bearing(keys["operator"])).text == "up 1\n"
    traced = {"model": "echo", "signoff": {"trace": True}}
    assert post(client, **traced, headers=bearing(keys["echo"])).status_code == 403
    assert "steps" in post(client, **traced, headers=bearing(keys["operator"])).json()["signoff"]


def test_a_turn_knows_the_key_and_not_its_secret(client: TestClient, keys: dict[str, str], watcher: Watcher) -> None:
    """Observers learn the key's id; the secret is in no turn and no answer, also not in one about a wrong key."""
    answers = [post(client, model="echo", headers=bearing(keys["echo"]))]
    answers += [post(client, model="echo", headers=bearing(keys["echo"] + "x"))]
    assert [turn.outcome for turn in watcher.turns] == ["ok", "refused"]
    assert watcher.turns[0].principal.key_id.startswith("key-")
    told = repr(watcher.turns) + "".join(answer.text + repr(answer.headers) for answer in answers)
    assert keys["echo"] not in told


def test_the_development_mode_may_everything() -> None:
    """Without keys there is one principal, who may see and do everything."""
    with TestClient(create_app({}, {"echo": Echo()}, Parts(figures=Figures()))) as client:
        assert client.get("/metrics").status_code == 200
        assert client.get("/admin/status").json()["ready"] is True
        assert "steps" in post(client, model="echo", signoff={"trace": True}).json()["signoff"]


def test_ready_means_loaded() -> None:
    """Until everything is loaded, and after it could not be, /ready is a 503 that says why; /health stays 200."""
    import asyncio

    go, told = asyncio.Event(), []

    async def load() -> None:
        await go.wait()

    async def fail() -> None:
        raise OSError("no such file: /secret/path")

    lifecycle = Lifecycle(loaders=(load, fail), broken=told.append)
    app = create_app({}, {}, lifecycle=lifecycle)
    with TestClient(app) as client:
        answer = client.get("/ready")
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "not_ready")
        assert "2 of 2 models" in answer.json()["error"]["message"]
        assert client.get("/health").status_code == 200
        client.portal.call(go.set)  # type: ignore[union-attr]
        while not told:
            pass
        assert "could not be loaded" in client.get("/ready").text
        assert "secret" not in client.get("/ready").text


def test_what_was_opened_is_closed() -> None:
    """At the end every closer runs, also after one that fails, and what still loads is stopped."""
    import asyncio

    closed: list[str] = []

    async def load() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            closed.append("loader")

    async def broken() -> None:
        raise OSError("gone")

    async def close() -> None:
        closed.append("closer")

    with TestClient(create_app({}, {}, lifecycle=Lifecycle((load,), (broken, close)))) as client:
        client.get("/health")
    assert closed == ["loader", "closer"]

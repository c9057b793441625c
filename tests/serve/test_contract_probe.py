"""What the contract probe sees of endpoints that misbehave one feature at a time, and what becomes of the record."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Coroutine
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import orjson
import pytest

from harness.cli import main
from harness.errors import SignoffError
from harness.serve.remote import Contract, Contracts, Endpoint, close_session, contract_of, session
from harness.serve.remote.features import FEATURES, MEANINGS
from harness.serve.remote.probes.decoding import stop_strings
from harness.serve.remote.record import KEPT, KEPT_WITH_GAPS, Observation
from tests.serve.fake_endpoint import MODEL, Fake, faking

T = TypeVar("T")


def run(work: Callable[[Fake], Coroutine[Any, Any, T]], *faults: str, **more: Any) -> T:
    """Do ``work`` beside a fake endpoint."""

    async def inside() -> T:
        async with faking(*faults, **more) as fake:
            try:
                return await work(fake)
            finally:
                await close_session()

    return asyncio.run(inside())


def endpoint(fake: Fake, **more: Any) -> Endpoint:
    """The fake's address."""
    return Endpoint(fake.url, MODEL, "model 'm'", **more)


def probed(*faults: str, **more: Any) -> Contract:
    """The contract of a fake with these faults."""
    return run(lambda fake: contract_of(session(), endpoint(fake)), *faults, **more)


def not_honoured(contract: Contract) -> dict[str, str]:
    """Features with another status, the needless key apart."""
    return {
        name: found.status for name, found in contract.features.items() if found.status != "honoured" and name != "key"
    }


def test_well_behaved_endpoint_honours_everything() -> None:
    """Nothing is held against a server that does what it says."""
    contract = probed()
    assert not_honoured(contract) == {}
    assert set(contract.features) == set(FEATURES) == set(MEANINGS)
    assert contract.features["key"].evidence == "a wrong key was let in; it asks for none"
    assert contract.reported["version"] == "1.0"
    assert contract.expires - contract.probed == KEPT


@pytest.mark.parametrize(
    "fault",
    [
        "greedy", "temperature", "seed", "top_p", "top_k", "stop", "logit_bias", "n", "top_logprobs", "json_object",
        "json_schema", "stream", "stream_role", "stream_usage", "stream_done", "stream_stop", "stream_logprobs",
        "unknown_field", "error_shape", "max_tokens", "max_completion_tokens", "system", "completions", "usage",
        "logprobs", "parallel",
    ],
)  # fmt: skip
def test_fault_is_seen(fault: str) -> None:
    """A feature that is accepted and not done is seen, and nothing else is blamed but what depends on it."""
    consequences = {
        "greedy": {"stream", "batch_exact", "stop", "stream_stop"},
        "temperature": {"seed"},
        "stop": {"stream_stop"},
        "stream": {"batch_exact", "stream_stop"},
        "logprobs": {"top_logprobs", "stream_logprobs"},
        "usage": {"stream_usage"},
        "parallel": {"batch_exact"},
    }
    found = not_honoured(probed(fault))
    assert fault in found
    assert set(found) - {fault} <= consequences.get(fault, set())
    assert found[fault] == ("refused" if fault == "completions" else "ignored")


@pytest.mark.parametrize(
    "field", ["seed", "top_p", "top_k", "stop", "logit_bias", "n", "top_logprobs", "response_format", "max_tokens"]
)
def test_refusal_is_told_apart_from_ignoring(field: str) -> None:
    """A field that the server answers with 400 is refused, with the server's words as evidence."""
    contract = probed(f"refuse:{field}")
    features = ["json_object", "json_schema"] if field == "response_format" else [field]
    for feature in features:
        found = contract.features[feature]  # type: ignore[index]
        assert (found.status, found.evidence) == ("refused", f"HTTP 400: {field} is not supported")


def test_system_role_may_be_refused() -> None:
    """Chat templates that know no system role answer 400."""
    assert probed("system_role").status("system") == "refused"


def test_penalty_nobody_asked_for_is_seen() -> None:
    """Equal greedy answers are not enough: a token was taken although another was likelier."""
    found = probed("penalty").features["greedy"]
    assert (found.status, "is likelier" in found.evidence) == ("ignored", True)


def test_wrong_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """A needed key is seen to be checked; a server that lets any key in is caught."""
    monkeypatch.setenv("DESK_KEY", "right-key")

    async def ask(fake: Fake) -> Contract:
        return await contract_of(session(), endpoint(fake, api_key_env="DESK_KEY"))

    assert run(ask, key="right-key").features["key"].evidence == "HTTP 401 for a wrong key"
    assert run(ask, "key", key="right-key").features["key"] == Observation("ignored", "a wrong key was let in")


def test_refused_key_is_named_by_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the variable and never the key, though the server quotes it."""
    monkeypatch.setenv("DESK_KEY", "sk-secret-12345")
    with pytest.raises(SignoffError, match="HTTP 401: the key in DESK_KEY was refused") as raised:
        run(lambda fake: contract_of(session(), endpoint(fake, api_key_env="DESK_KEY")), key="another")
    assert "sk-secret" not in str(raised.value)


def test_endpoint_without_the_model_cannot_be_probed(tmp_path: Path) -> None:
    """A model that the server does not know is an error, and nothing is recorded."""

    async def ask(fake: Fake) -> None:
        await contract_of(session(), replace(endpoint(fake), model_id="nobody"), tmp_path)

    with pytest.raises(SignoffError, match=r"does not answer a plain chat.*no model nobody"):
        run(ask)
    assert list(tmp_path.rglob("*.json")) == []


def test_nobody_there() -> None:
    """A closed port is an error of the transport."""
    dead = Endpoint("http://127.0.0.1:9/v1", MODEL, "model 'm'")

    async def ask() -> None:
        try:
            await contract_of(session(), dead)
        finally:
            await close_session()

    with pytest.raises(SignoffError, match=r"model 'm' at http://127.0.0.1:9/v1: ClientConnectorError"):
        asyncio.run(ask())


def test_probed_once(tmp_path: Path) -> None:
    """Twenty requests at the same time wait for one probe, and a later process reads its record."""

    async def ask(fake: Fake) -> None:
        known = Contracts(tmp_path)
        first = await asyncio.gather(*(known.of(endpoint(fake)) for _ in range(20)))
        count = len(fake.asked)
        assert {contract.requests for contract in first} == {count}
        assert await Contracts(tmp_path).of(endpoint(fake)) == replace(
            first[0], **{name: getattr(first[0], name).replace(microsecond=0) for name in ("probed", "expires")}
        )
        assert len(fake.asked) == count

    run(ask)


def records(folder: Path) -> list[Path]:
    """The records below a cache."""
    return sorted(folder.glob("endpoints/*.json"))


@pytest.mark.parametrize("spoil", ["expired", "truncated", "revision", "shape"])
def test_record_that_cannot_be_believed_is_made_anew(tmp_path: Path, spoil: str) -> None:
    """An expired, half-written, older or foreign record is not trusted."""

    async def ask(fake: Fake) -> None:
        await contract_of(session(), endpoint(fake), tmp_path)
        (path,) = records(tmp_path)
        data = orjson.loads(path.read_bytes())
        changed = {
            "expired": {"expires": "2020-01-01T00:00:00+00:00"}, "revision": {"revision": 0}, "shape": {"features": []},
        }.get(spoil, {})  # fmt: skip
        path.write_bytes(orjson.dumps(data | changed)[: 100 if spoil == "truncated" else None])
        count = len(fake.asked)
        await contract_of(session(), endpoint(fake), tmp_path)
        assert len(fake.asked) == 2 * count
        assert orjson.loads(path.read_bytes())["expires"] > "2026"

    run(ask)


def test_another_server_is_probed_again(tmp_path: Path) -> None:
    """The record is of the version that the server reports: a new one gets its own."""

    async def ask(fake: Fake) -> None:
        await contract_of(session(), endpoint(fake), tmp_path)
        fake.version = "1.1"
        await contract_of(session(), endpoint(fake), tmp_path)

    run(ask)
    versions = [orjson.loads(path.read_bytes())["reported"]["version"] for path in records(tmp_path)]
    assert sorted(versions) == ["1.0", "1.1"]


def test_gaps_are_not_kept_long() -> None:
    """What stayed unknown is looked at again after a day."""
    contract = probed("temperature")
    assert contract.status("seed") == "unknown"
    assert contract.expires - contract.probed == KEPT_WITH_GAPS < timedelta(days=2)


def test_adapter_that_changes_nothing(tmp_path: Path) -> None:
    """An adapter that answers exactly like its base is found out; one with an effect is let through."""

    async def ask(fake: Fake) -> list[str]:
        known, base = Contracts(tmp_path), endpoint(fake)
        found = [await known.of_adapter(replace(base, model_id=name), base) for name in ("dud", "tuned")]
        return [each.status("chat") for each in found]

    assert run(ask, models=(MODEL, "dud", "tuned")) == ["ignored", "honoured"]


def test_adapter_that_reaches_other_rows(tmp_path: Path) -> None:
    """A server that lets an adapter answer for the base when both are in one batch is found out."""

    async def ask(fake: Fake) -> Contract:
        return await Contracts(tmp_path).of_adapter(replace(endpoint(fake), model_id="tuned"), endpoint(fake))

    assert run(ask, models=(MODEL, "tuned")).status("batch_exact") == "honoured"
    assert run(ask, "mixed", models=(MODEL, "tuned")).status("batch_exact") == "ignored"


def test_evidence_is_one_printable_line() -> None:
    """Control signs of a model or server never reach a terminal."""
    found = Observation.of("ignored", "a\x1b[31m\nb\u202e" + "c" * 500)
    assert found.evidence.startswith("a [31m b c")
    assert found.evidence.isprintable() and len(found.evidence) == 200


def test_stop_strings_lie_inside_and_across() -> None:
    """Half characters are left alone, and the strings stand some way into the text."""
    assert stop_strings("The sea is wide.") == ("sea", "ea is")
    assert stop_strings("\ufffd" * 30) == ("", "")
    assert stop_strings("ab") == ("", "")


def probe(*argv: str, **more: Any) -> tuple[int, int]:
    """Exit code of the command beside a fake, and how often that was asked."""

    async def ask(fake: Fake) -> tuple[int, int]:
        code = await asyncio.to_thread(main, ["probe-endpoint", fake.url, *argv])
        return code, len(fake.asked)

    return run(ask, **more)


def test_command_prints_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    """Each feature stands with its status and what was seen."""
    assert probe()[0] == 0
    out = capsys.readouterr().out
    assert re.search(r"^seed +honoured +3 equal texts for one seed", out, re.MULTILINE)
    assert "version 1.0" in out and "not honoured:\n  key:" in out


def test_command_asks_once(capsys: pytest.CaptureFixture[str]) -> None:
    """The record answers the second call; ``--again`` asks; ``--json`` prints the record."""

    async def ask(fake: Fake) -> list[int]:
        counts = []
        for more in ([], ["--json"], ["--again"]):
            capsys.readouterr()
            assert await asyncio.to_thread(main, ["probe-endpoint", fake.url.removesuffix("/v1"), *more]) == 0
            counts.append(len(fake.asked))
            if more == ["--json"]:
                record = orjson.loads(capsys.readouterr().out)
                assert record["features"]["stop"]["status"] == "honoured"
                assert record["url"] == fake.url
        return counts

    first, second, third = run(ask)
    assert first == second > 0 and third == 2 * first


def test_command_with_several_models(capsys: pytest.CaptureFixture[str]) -> None:
    """Which model is meant must be said when there are several."""
    assert probe(models=(MODEL, "other")) == (64, 0)
    assert "lists 2 models; say which with --model: 'made-up', 'other'" in capsys.readouterr().err
    assert probe("--model", MODEL, models=(MODEL, "other"))[0] == 0


@pytest.mark.parametrize(
    "argv",
    [
        ["ftp://127.0.0.1/v1"], ["127.0.0.1:8000"], ["http://"], ["http://me:word@127.0.0.1/v1"], ["http://127.0.0.1/?k=1"],
        ["http://127.0.0.1:x/v1"], ["http://example.org/v1"], ["http://localhost.example.org/v1"],
        ["http://127.0.0.1:9/v1", "--timeout", "0"], ["http://127.0.0.1:9/v1", "--api-key-env", "NOT_SET_ANYWHERE"],
    ],
)  # fmt: skip
def test_command_refuses_bad_addresses(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """What is no http address, holds a password, or is another machine's, is a usage error; no password is shown."""
    assert main(["probe-endpoint", *argv]) == 64
    assert "word@" not in capsys.readouterr().err


def test_command_without_anybody_there(capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody at the address is a failed dependency, without a traceback."""
    assert main(["probe-endpoint", "http://127.0.0.1:9"]) == 3
    assert capsys.readouterr().err.startswith("signoff: the endpoint at http://127.0.0.1:9/v1: ClientConnectorError")

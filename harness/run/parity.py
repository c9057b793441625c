"""Served is evaluated: the gateway's own answer for an app equals the one that was scored."""

from __future__ import annotations

from collections.abc import Sequence

import aiohttp
import orjson

from harness.errors import SignoffError
from harness.evals import Arm
from harness.serve.steps.chain import Call
from harness.serve.steps.llm_step import samples
from harness.spec.suites import Case


async def served_as_evaluated(session: aiohttp.ClientSession, url: str, arm: Arm, cases: Sequence[Case]) -> None:
    """Ask the gateway for the app by name; SignoffError when digest or text differ from what was measured."""
    name = arm.files.name + ("@baseline" if arm.variant == "baseline" else "")
    for case in cases:
        messages = [turn.model_dump() for turn in case.messages]
        expected = await arm.chain.run(Call(case.inputs, messages, case.id, 0))
        body = {"model": name, "messages": messages or [{"role": "user", "content": "-"}], "inputs": dict(case.inputs)}
        data = orjson.dumps(body)
        headers = {"content-type": "application/json"}
        async with session.post(f"{url}/v1/chat/completions", data=data, headers=headers) as answer:
            content, served = await answer.read(), answer.headers.get("x-signoff-digest", "")
        if served != arm.files.digest:
            message = (
                f"the gateway serves {name!r} with digest {served[:12]!r}, under review is {arm.files.digest[:12]!r}"
            )
            raise SignoffError(message)
        # The seed of a sampled step comes from the case's id, which a chat request does not carry.
        if expected.status != "ok" or samples(arm.files):
            continue
        if answer.status != 200:
            message = (
                f"the gateway answers {name!r} with HTTP {answer.status}: {content[:200].decode(errors='replace')}"
            )
            raise SignoffError(message)
        text = orjson.loads(content)["choices"][0]["message"]["content"]
        if text != expected.text:
            message = f"case {case.id!r}: the gateway answers {text[:80]!r}, measured was {expected.text[:80]!r}"
            raise SignoffError(message)

"""``signoff probe-endpoint``: what an OpenAI-compatible endpoint really honours."""

from __future__ import annotations

import argparse
from argparse import Namespace
from typing import TYPE_CHECKING

from harness.cli.commands import print_json
from harness.cli.parsing import Parser, command
from harness.errors import UsageError

if TYPE_CHECKING:
    from harness.serve.remote import Contract, Endpoint

_LISTED = 10


def add(sub: argparse._SubParsersAction[Parser]) -> None:
    """Put the command on the command line."""
    probe = command(
        sub,
        "probe-endpoint",
        "ask an OpenAI-compatible endpoint what it honours, and record it",
        "signoff probe-endpoint http://127.0.0.1:8001/v1 --model tiny",
        probe_command,
    )
    probe.add_argument("url", help="the address up to /v1")
    probe.add_argument("--model", metavar="ID", help="the model to ask (default: the only one that it serves)")
    probe.add_argument("--api-key-env", metavar="VAR", help="the environment variable that holds the key")
    probe.add_argument("--timeout", type=float, default=60.0, metavar="S", help="seconds for one request (default: 60)")
    probe.add_argument("--again", action="store_true", help="ask even if a record of it is still valid")
    probe.add_argument("--allow-remote", action="store_true", help="the address may be another machine's")


def probe_command(args: Namespace) -> int:
    """``signoff probe-endpoint``."""
    import asyncio

    from harness.serve.remote import Endpoint
    from harness.spec.urls import checked_url, is_loopback

    url = checked_url(args.url)
    if not is_loopback(url) and not args.allow_remote:
        message = f"{url} is not on this machine; the probe sends it some 60 requests: allow that with --allow-remote"
        raise UsageError(message)
    if not args.timeout > 0:
        raise UsageError(f"--timeout is {args.timeout:g}; it must be above 0")
    endpoint = Endpoint(url, args.model or "", "the endpoint", args.api_key_env, args.timeout)
    contract = asyncio.run(_probe(endpoint, args))
    if args.json:
        print_json(contract.as_dict())
    else:
        print(table(contract))
    return 0


async def _probe(endpoint: Endpoint, args: Namespace) -> Contract:
    from dataclasses import replace

    from harness.serve.remote import close_session, contract_of, session

    try:
        if not endpoint.model_id:
            endpoint = replace(endpoint, model_id=await _only_model(endpoint))
        return await contract_of(session(), endpoint, args.cache, again=args.again)
    finally:
        await close_session()


async def _only_model(endpoint: Endpoint) -> str:
    from harness.serve.remote import served_models, session

    names = await served_models(session(), endpoint)
    if len(names) == 1:
        return names[0]
    shown = ", ".join(map(repr, names[:_LISTED])) + (", …" if len(names) > _LISTED else "")
    raise UsageError(
        f"{endpoint.base_url} lists {len(names)} models; say which with --model: {shown or 'it names none'}"
    )


def table(contract: Contract) -> str:
    """The contract as a person reads it in a terminal."""
    from harness.serve.remote.features import MEANINGS

    rows = [(name, found.status, found.evidence) for name, found in contract.features.items()]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    lines = [f"{name:<{widths[0]}}  {status:<{widths[1]}}  {evidence}" for name, status, evidence in rows]
    lost = [f"  {name}: {MEANINGS[name]}" for name, found in contract.features.items() if found.status != "honoured"]
    about = ", ".join(f"{name} {value}" for name, value in contract.reported.items() if name != "model.id")
    head = f"{contract.model} at {contract.url}" + (f" ({about})" if about else "")
    probed, until = f"{contract.probed:%Y-%m-%d}", f"{contract.expires:%Y-%m-%d}"
    when = f"probed {probed} with {contract.requests} requests, valid until {until}"
    return "\n".join([head, when, "", *lines, *(["", "not honoured:", *lost] if lost else [])])

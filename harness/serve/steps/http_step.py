"""HTTP steps: an existing service asked through a request template."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any

import aiohttp
import jinja2
import orjson

from harness.errors import UsageError
from harness.serve.remote import TRANSIENT_STATUS
from harness.serve.steps.callers import StepError
from harness.spec.apps import HttpStep
from harness.spec.prompts import environment
from harness.store import GenerationCache, digest_of


class HttpRunner:
    """Asks services; ``served`` collects what each says of its own build.

    With ``cache``, an answer is kept for the step's ``cache_s`` seconds and no longer: nothing proves that the
    service behind a URL is still the one that answered.
    """

    def __init__(self, session: aiohttp.ClientSession, cache: GenerationCache | None = None) -> None:
        self._session = session
        self._cache = cache
        self._env = environment()
        self._templates: dict[str, jinja2.Template] = {}
        self._paths: dict[str, Any] = {}
        self.served: dict[str, set[str]] = {}
        self.calls = 0
        self.hits = 0

    async def run(self, step: HttpStep, context: Mapping[str, Any], repeat: int) -> tuple[Any, bool]:
        """The value that the service gave, and whether it came from the cache.

        StepError names status and body's start, or the transport's failure (transient).
        """
        body = self._fill(step.body, context)
        url = self._fill(step.url, context)
        window = int(time.time() // step.cache_s) if step.cache_s else 0
        try:
            key = digest_of({"http": target_digest(step), "url": url, "body": body, "repeat": repeat, "window": window})
        except TypeError as error:
            message = f"{step.method} {url}: the request cannot be written as JSON: {error}"
            raise StepError(message) from error
        kept = self._cache.get_many([key]) if self._cache is not None and step.cache_s else {}
        if key in kept:
            self.hits += 1
            return orjson.loads(kept[key]), True
        self.calls += 1
        try:
            value = await self._ask(step, url, body)
        except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError) as error:
            message = f"{step.method} {url}: {type(error).__name__}: {error}"
            raise StepError(message, transient=True) from error
        except TimeoutError as error:
            message = f"{step.method} {url}: no answer within {step.timeout_s:g} s"
            raise StepError(message, transient=True, timed_out=True) from error
        if self._cache is not None and step.cache_s:
            self._cache.put_many({key: orjson.dumps(value)})
        return value, False

    async def _ask(self, step: HttpStep, url: str, body: Any) -> Any:
        headers = {"content-type": "application/json", **step.headers, **_bearer(step)}
        data = None if body is None else orjson.dumps(body)
        timeout = aiohttp.ClientTimeout(total=step.timeout_s)
        async with self._session.request(step.method, url, data=data, headers=headers, timeout=timeout) as answer:
            content = await answer.read()
            if answer.status != 200:
                message = f"{step.method} {url}: HTTP {answer.status}: {content[:200].decode(errors='replace')}"
                raise StepError(message, transient=answer.status in TRANSIENT_STATUS)
            if step.digest_header:
                self.served.setdefault(f"{step.id} at {step.url}", set()).add(
                    answer.headers.get(step.digest_header, "")
                )
        try:
            return self._take(step.result, orjson.loads(content))
        except ValueError as error:
            message = f"{step.method} {url}: the answer is not JSON: {content[:200].decode(errors='replace')}"
            raise StepError(message) from error

    def _take(self, path: str, data: Any) -> Any:
        if path not in self._paths:
            from jsonpath_ng import parse

            self._paths[path] = parse(path)
        found = self._paths[path].find(data)
        if not found:
            message = f"JSONPath {path!r} finds nothing in {orjson.dumps(data)[:200].decode(errors='replace')}"
            raise StepError(message)
        return found[0].value

    def _fill(self, template: Any, context: Mapping[str, Any]) -> Any:
        if isinstance(template, dict):
            return {key: self._fill(value, context) for key, value in template.items()}
        if isinstance(template, list):
            return [self._fill(value, context) for value in template]
        if not isinstance(template, str) or "{" not in template:
            return template
        if template not in self._templates:
            self._templates[template] = self._env.from_string(template)
        try:
            return self._templates[template].render(context)
        except jinja2.TemplateError as error:
            message = f"request template {template!r}: {error}"
            raise StepError(message) from error


def _bearer(step: HttpStep) -> dict[str, str]:
    if step.token_env is None:
        return {}
    token = os.environ.get(step.token_env)
    if not token:
        message = f"step {step.id!r} takes its token from the environment variable {step.token_env}, which is not set"
        raise UsageError(message)
    return {"authorization": f"Bearer {token}"}


def target_digest(step: HttpStep) -> str:
    """What is known of an http step: its template and URL, not what answers there."""
    return digest_of(step.model_dump(mode="json", exclude={"description", "baseline_url", "guards"}))

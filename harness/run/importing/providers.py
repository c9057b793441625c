"""Providers of a promptfoo config as models of the repository, or as services."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.run.importing.config_file import Folder, Unreadable
from harness.run.importing.record import Ledger

# Who answers OpenAI's chat requests, and the variable that its key usually stands in.
_HOSTS: Mapping[str, tuple[str, str]] = {
    "openai": ("https://api.openai.com/v1", "OPENAI_API_KEY"),
    "anthropic": ("https://api.anthropic.com/v1", "ANTHROPIC_API_KEY"),
    "google": ("https://generativelanguage.googleapis.com/v1beta/openai", "GOOGLE_API_KEY"),
    "mistral": ("https://api.mistral.ai/v1", "MISTRAL_API_KEY"),
    "groq": ("https://api.groq.com/openai/v1", "GROQ_API_KEY"),
    "openrouter": ("https://openrouter.ai/api/v1", "OPENROUTER_API_KEY"),
    "deepseek": ("https://api.deepseek.com/v1", "DEEPSEEK_API_KEY"),
    "together": ("https://api.together.xyz/v1", "TOGETHER_API_KEY"),
    "togetherai": ("https://api.together.xyz/v1", "TOGETHER_API_KEY"),
    "fireworks": ("https://api.fireworks.ai/inference/v1", "FIREWORKS_API_KEY"),
    "perplexity": ("https://api.perplexity.ai", "PERPLEXITY_API_KEY"),
    "xai": ("https://api.x.ai/v1", "XAI_API_KEY"),
    "cerebras": ("https://api.cerebras.ai/v1", "CEREBRAS_API_KEY"),
    "ollama": ("http://localhost:11434/v1", ""),
    "vllm": ("http://localhost:8000/v1", ""),
    "localai": ("http://localhost:8080/v1", ""),
    "llamafile": ("http://localhost:8080/v1", ""),
}
_MODES = frozenset({"chat", "completion", "messages", "responses"})
_DECODING = {
    "temperature": "temperature", "max_tokens": "max_tokens", "maxTokens": "max_tokens", "top_p": "top_p",
    "topP": "top_p", "top_k": "top_k", "stop": "stop", "max_completion_tokens": "max_tokens",
}  # fmt: skip
_READ = frozenset({"apiBaseUrl", "apiHost", "apiKeyEnvar", "apiKey", "cost", "inputCost", "outputCost", *_DECODING})
_ENV = re.compile(r"^\{\{\s*env(?:\.|\[['\"])(\w+)(?:['\"]\])?\s*\}\}$")
_TEMPLATE = re.compile(r"\{\{\s*(\w+)(\s*\|\s*dump)?\s*\}\}")


@dataclass(frozen=True)
class ImportedProvider:
    """A provider: ``model`` holds the lines of its ``model.yaml``, or ``http`` those of its step."""

    label: str
    id: str
    model: Mapping[str, Any] = field(default_factory=dict)
    http: Mapping[str, Any] = field(default_factory=dict)
    decoding: Mapping[str, Any] = field(default_factory=dict)
    prices: Mapping[str, float] = field(default_factory=dict)
    prompts: Sequence[str] = ()

    @property
    def inputs(self) -> tuple[str, ...]:
        """What the body of a service's request names."""
        return tuple(sorted(set(re.findall(r"\binputs\.(\w+)", repr(self.http.get("body"))))))

    def chosen_by(self, names: Sequence[str]) -> bool:
        """Whether a test that names providers means this one."""
        return not names or any(
            name in {self.label, self.id} or (name.endswith("*") and self.label.startswith(name[:-1])) for name in names
        )


def read_providers(config: Mapping[str, Any], folder: Folder, ledger: Ledger) -> list[ImportedProvider]:
    """The providers that could be taken over; the others are listed."""
    given = config.get("providers", config.get("targets")) or []
    made: list[ImportedProvider] = []
    for number, item in enumerate(given if isinstance(given, list) else [given], start=1):
        try:
            made.extend([read_provider(each, ledger) for each in _loaded(item, folder)])
        except Unreadable as error:
            ledger.lost("provider", str(error), f"providers[{number}]")
    return made


def _loaded(item: Any, folder: Folder) -> list[Any]:
    if isinstance(item, str) and item.startswith("file://") and Path(item).suffix in {".yaml", ".yml", ".json"}:
        data = folder.load(item)
        return data if isinstance(data, list) else [data]
    return [item]


def read_provider(item: Any, ledger: Ledger) -> ImportedProvider:
    """One provider; Unreadable when nothing here stands for it."""
    name: Any = item
    own: Any = {}
    if isinstance(item, Mapping) and "id" not in item and len(item) == 1:
        name, own = next(iter(item.items()))
    elif isinstance(item, Mapping):
        name, own = item.get("id"), item
    if not isinstance(name, str) or not isinstance(own or {}, Mapping):
        raise Unreadable(f"a provider is named by a text such as openai:chat:gpt-4o, not {item!r:.80}")
    own = own or {}
    config = own.get("config") or {}
    label = str(own.get("label") or name)
    prompts = [str(prompt) for prompt in own.get("prompts") or []]
    if "transform" in own:
        raise Unreadable(f"{label} transforms its answers by a program, which an import does not run")
    if name in {"http", "https"} or name.startswith(("http://", "https://")):
        return ImportedProvider(label, name, http=_service(name, config), prompts=prompts)
    model = _model(name, config, label, ledger)
    decoding = {_DECODING[key]: value for key, value in config.items() if key in _DECODING and value is not None}
    if isinstance(decoding.get("stop"), str):
        decoding["stop"] = [decoding["stop"]]
    for key in sorted(set(config) - _READ):
        ledger.lost(f"provider setting {key!r}", "app.yaml has no such setting for a model", label)
    return ImportedProvider(label, name, model, decoding=decoding, prices=_prices(config), prompts=prompts)


def _model(name: str, config: Mapping[str, Any], label: str, ledger: Ledger) -> dict[str, Any]:
    kind, _, rest = name.partition(":")
    if kind not in _HOSTS:
        raise Unreadable(
            f"{name}: no OpenAI-compatible endpoint is known for {kind!r}; "
            "write models/<name>/model.yaml by hand, with base_url and model_id"
        )
    mode, _, model_id = rest.partition(":")
    if mode not in _MODES:
        model_id = rest
    if mode == "responses":
        ledger.changed("provider", "asked through chat completions, not through the responses API", label)
    if not model_id:
        raise Unreadable(f"{name} names no model")
    base_url, key_env = _HOSTS[kind]
    base_url = str(config.get("apiBaseUrl") or base_url)
    if host := config.get("apiHost"):
        base_url = f"https://{host}/v1"
    if env := _ENV.match(base_url):
        raise Unreadable(f"its address stands in the environment variable {env.group(1)}; write it into the config")
    return {
        "engine": "openai",
        "base_url": base_url.rstrip("/"),
        "model_id": model_id,
        **({"api_key_env": key} if (key := _key_env(config, key_env, label, ledger)) else {}),
    }


def _key_env(config: Mapping[str, Any], usual: str, label: str, ledger: Ledger) -> str:
    if name := config.get("apiKeyEnvar"):
        return str(name)
    key = config.get("apiKey")
    if isinstance(key, str) and (env := _ENV.match(key)):
        return env.group(1)
    if key and usual:
        ledger.changed("apiKey", f"keys are never copied; put it into the environment variable {usual}", label)
    elif key:
        ledger.lost("apiKey", "keys are never copied; name a variable by api_key_env in model.yaml", label)
    return usual


def _prices(config: Mapping[str, Any]) -> dict[str, float]:
    both = config.get("cost")
    prices = {"input": config.get("inputCost", both), "output": config.get("outputCost", both)}
    return {name: float(price) for name, price in prices.items() if isinstance(price, int | float)}


def _service(name: str, config: Mapping[str, Any]) -> dict[str, Any]:
    url = str(config.get("url") or name)
    if not url.startswith(("http://", "https://")) or "{{" in url:
        raise Unreadable(f"the address {url!r} of the service is no plain http URL")
    method = str(config.get("method") or "POST").upper()
    if method not in {"GET", "POST", "PUT"}:
        raise Unreadable(f"the service is asked by {method}; an http step knows GET, POST and PUT")
    headers, token = _headers(config)
    step = {"kind": "http", "url": url, "method": method, **({"headers": headers} if headers else {})}
    if token:
        step["token_env"] = token
    if (body := config.get("body")) is not None:
        step["body"] = _body(_structured(body))
    return {**step, "result": _path(config.get("transformResponse", config.get("responseParser")))}


def _headers(config: Mapping[str, Any]) -> tuple[dict[str, str], str]:
    headers, token = {}, ""
    for key, value in (config.get("headers") or {}).items():
        if str(key).lower() == "authorization":
            found = re.fullmatch(r"Bearer\s+\{\{\s*env\.(\w+)\s*\}\}", str(value))
            if not found:
                raise Unreadable("its authorization header is no 'Bearer {{env.NAME}}'; keys are never copied")
            token = found.group(1)
        elif "{{" in str(value):
            raise Unreadable(f"its header {key!r} is a template")
        elif str(key).lower() not in {"content-type", "content-length"}:
            headers[str(key)] = str(value)
    return headers, token


def _structured(body: Any) -> Any:
    """A body that was written as a text of JSON, as data: a value with a quote in it cannot break it then."""
    if not isinstance(body, str):
        return body
    quoted = re.sub(r'(?<!["\w}])(\{\{\s*\w+\s*\|\s*dump\s*\}\})', r'"\1"', body)
    try:
        return json.loads(quoted)
    except ValueError as error:
        raise Unreadable(f"the body of its request is no JSON: {body[:60]!r}") from error


def _body(value: Any) -> Any:
    if isinstance(value, str):
        return _TEMPLATE.sub(lambda found: "{{ inputs." + found.group(1) + " }}", value)
    if isinstance(value, Mapping):
        return {str(key): _body(item) for key, item in value.items()}
    return [_body(item) for item in value] if isinstance(value, list) else value


def _path(transform: Any) -> str:
    """The JSONPath of a transform that only walks into the answer, such as ``json.choices[0].message.content``."""
    if transform in (None, "", "json"):
        return "$"
    found = re.fullmatch(r"json((?:\??\.[A-Za-z_]\w*|\[\d+\]|\[['\"][\w-]+['\"]\])+);?", str(transform).strip())
    if not found:
        raise Unreadable(f"its answer is taken apart by the program {str(transform)[:60]!r}")
    return "$" + found.group(1).replace("?.", ".").replace('"', "'")

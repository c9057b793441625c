"""The probes of the contract, in the order in which they build on each other."""

from collections.abc import Awaitable, Callable, Mapping

from harness.serve.remote.features import Feature
from harness.serve.remote.probes import decoding, manners, outputs
from harness.serve.remote.probes.asking import Asker, Found

Probe = Callable[[Asker], Awaitable[Found]]

PROBES: Mapping[Probe, tuple[Feature, ...]] = {
    decoding.length: ("max_tokens", "max_completion_tokens"),
    manners.chat: ("chat",),
    decoding.greedy: ("greedy",),
    decoding.seed: ("temperature", "seed"),
    decoding.cuts: ("top_p", "top_k"),
    decoding.stop: ("stop",),
    decoding.bias: ("logit_bias",),
    outputs.usage: ("usage",),
    outputs.system: ("system",),
    outputs.completions: ("completions",),
    outputs.logprobs: ("logprobs", "top_logprobs"),
    outputs.choices: ("n",),
    outputs.json_object: ("json_object",),
    outputs.json_schema: ("json_schema",),
    manners.stream: ("stream", "stream_role", "stream_usage", "stream_done"),
    manners.stream_stop: ("stream_stop",),
    manners.stream_logprobs: ("stream_logprobs",),
    manners.parallel: ("parallel", "batch_exact"),
    manners.unknown_field: ("unknown_field",),
    manners.error_shape: ("error_shape",),
    manners.key: ("key",),
}
"""Each probe with the features that it observes; what it cannot tell because it failed stays unknown."""

__all__ = ["PROBES", "Asker", "Found", "Probe"]

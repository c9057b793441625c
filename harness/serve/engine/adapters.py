"""LoRA adapters in a packed batch: every token goes through its own request's adapter, in one forward pass.

For a linear layer ``y = W x`` with adapters of down and up projections ``A_i`` ``[r_i, in]`` and ``B_i`` ``[out, r_i]``
(Hu et al. 2021, "LoRA", equation 3), the projections of all adapters in the batch are stacked, and each token keeps
the down-projections of its own adapter only: ``y + B (m * A x)``, with ``m`` ``[sum of ranks, tokens]`` of zeros and
ones (the idea of Chen et al. 2023, "Punica", and Sheng et al. 2023, "S-LoRA", without their kernels). Tokens without
adapter add exact zeros. PEFT's own ``adapter_names`` would need one name per token and gathers rows in every layer.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from harness.errors import SignoffError, UsageError

if TYPE_CHECKING:
    import torch

_PREFIX = "base_model.model."
_COMBINATIONS = 8
# What a PEFT configuration may say and this code does not compute: served silently, it would be another model.
_UNSUPPORTED: Mapping[str, tuple[Any, ...]] = {
    "use_dora": (False, None),
    "lora_bias": (False, None),
    "bias": ("none", None),
    "fan_in_fan_out": (False, None),
    "modules_to_save": (None, []),
    "alpha_pattern": ({}, None),
    "rank_pattern": ({}, None),
    "layer_replication": (None,),
    "trainable_token_indices": (None,),
    "target_parameters": (None, []),
    "use_qalora": (False, None),
    "alora_invocation_tokens": (None,),
    "arrow_config": (None,),
}


@dataclass(frozen=True, slots=True)
class LoraWeights:
    """One adapter: for each module's name its ``down`` ``[rank, in]`` and ``up`` ``[rank, out]``, scaling included."""

    digest: str
    rank: int
    modules: Mapping[str, tuple[torch.Tensor, torch.Tensor]]


@dataclass(frozen=True, slots=True)
class Stacks:
    """The adapters of a combination side by side: for each module ``down`` ``[ranks, in]`` and ``up`` ``[ranks, out]``.

    ``groups`` holds, for modules that read one input, their downs stacked.
    """

    modules: Mapping[str, tuple[torch.Tensor, torch.Tensor]]
    groups: dict[tuple[str, ...], torch.Tensor] = field(default_factory=dict)

    def down(self, group: tuple[str, ...]) -> torch.Tensor:
        """The downs of all modules of ``group``, one below the other."""
        import torch

        if len(group) == 1:
            return self.modules[group[0]][0]
        if group not in self.groups:
            self.groups[group] = torch.cat([self.modules[name][0] for name in group], 0)
        return self.groups[group]


class Routing:
    """The adapters of one batch; ``mask`` ``[ranks, tokens]`` says whose tokens each rank is for (None: all)."""

    def __init__(self, stacks: Stacks, mask: torch.Tensor | None) -> None:
        self.stacks, self._masks = stacks, {1: mask}
        self._input: Any = None
        self._downs: dict[str, torch.Tensor] = {}

    def down(self, name: str, given: torch.Tensor, group: tuple[str, ...]) -> torch.Tensor:
        """``m * A x`` ``[ranks, tokens]`` of a module; those of its ``group`` are computed with the first of them."""
        if self._input is not given or name not in self._downs:
            # Transposed, because a product with so few columns is four times slower than one with so few rows.
            found = self.stacks.down(group) @ given.flatten(0, -2).t()
            mask = self._mask(len(group))
            if mask is not None:
                found.mul_(mask)
            self._input, self._downs = given, dict(zip(group, found.chunk(len(group)), strict=True))
        return self._downs[name]

    def _mask(self, times: int) -> torch.Tensor | None:
        mask = self._masks[1]
        if mask is not None and times not in self._masks:
            self._masks[times] = mask.repeat(times, 1)
        return self._masks.get(times)


class AdapterBank:
    """The adapters that one model can serve. Not thread-safe: the engine's thread owns it."""

    def __init__(self, model: Any) -> None:
        self._linears = _linears(model)
        self._dtype, self._device = model.dtype, model.device
        self._adapters: dict[str, LoraWeights] = {}
        self._combined: OrderedDict[tuple[str, ...], Stacks] = OrderedDict()
        # Modules that were seen to read one input (queries, keys and values do) share one down-projection.
        self._groups: dict[str, tuple[str, ...]] = {}
        self._last: tuple[Any, str] = (None, "")
        self.routing: Routing | None = None

    def __contains__(self, digest: object) -> bool:
        return digest in self._adapters

    def read(self, digest: str, folder: Path) -> LoraWeights:
        """The weights of a PEFT adapter folder; UsageError when they do not fit this model key by key."""
        scaling, rank = _scaling(folder)
        found: dict[str, dict[str, Any]] = {}
        for key, tensor in _tensors(folder).items():
            module, part = _module_of(key, folder)
            found.setdefault(module, {})[part] = tensor
        problems = [text for name, parts in found.items() for text in self._misfits(name, parts, rank)]
        if not found:
            problems = ["it holds no LoRA weights"]
        if problems:
            raise UsageError(f"adapter {folder} does not fit the model: {'; '.join(problems[:3])}")
        modules = {name: self._pair(parts, scaling) for name, parts in found.items()}
        return LoraWeights(digest, rank, modules)

    def add(self, adapter: LoraWeights) -> None:
        """Make an adapter known; its modules are watched from now on."""
        self._adapters[adapter.digest] = adapter
        for name in adapter.modules.keys() - self._groups.keys():
            self._linears[name].register_forward_hook(self._hook(name))
            self._groups[name] = (name,)

    def remove(self, digest: str) -> None:
        """Forget an adapter; unknown ones are ignored."""
        self._adapters.pop(digest, None)
        for combination in [each for each in self._combined if digest in each]:
            del self._combined[combination]

    def route(self, runs: Sequence[tuple[str | None, int]]) -> Routing | None:
        """Where the tokens of a batch go; ``runs`` are (adapter or None, number of tokens) in order."""
        import torch

        used = tuple(sorted({digest for digest, _ in runs if digest is not None}))
        if not used:
            return None
        stacks = self._combine(used)
        if len(used) == 1 and all(digest is not None for digest, _ in runs):
            return Routing(stacks, None)
        starts, rank = {}, 0
        for each in used:
            starts[each] = rank
            rank += self._adapters[each].rank
        mask = torch.zeros(rank, sum(count for _, count in runs), dtype=self._dtype)
        at = 0
        for digest, count in runs:
            if digest is not None:
                mask[starts[digest] : starts[digest] + self._adapters[digest].rank, at : at + count] = 1
            at += count
        return Routing(stacks, mask.to(self._device))

    def _combine(self, used: tuple[str, ...]) -> Stacks:
        """The projections of several adapters side by side; an adapter without a module has zeros there."""
        import torch

        if used in self._combined:
            self._combined.move_to_end(used)
            return self._combined[used]
        adapters = [self._adapters[digest] for digest in used]
        combined = {}
        for name in sorted(set().union(*(adapter.modules for adapter in adapters))):
            linear = self._linears[name]
            pairs = [
                adapter.modules.get(name)
                or (
                    torch.zeros(adapter.rank, linear.in_features, dtype=self._dtype, device=self._device),
                    torch.zeros(adapter.rank, linear.out_features, dtype=self._dtype, device=self._device),
                )
                for adapter in adapters
            ]
            combined[name] = (torch.cat([down for down, _ in pairs], 0), torch.cat([up for _, up in pairs], 0))
        stacks = self._combined[used] = Stacks(combined)
        while len(self._combined) > _COMBINATIONS:
            self._combined.popitem(last=False)
        return stacks

    def _hook(self, name: str) -> Any:
        def add_delta(_: Any, args: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
            routing = self.routing
            if routing is None or name not in routing.stacks.modules:
                return output
            self._learn(name, args[0])
            group = tuple(mate for mate in self._groups[name] if mate in routing.stacks.modules)
            down = routing.down(name, args[0], group)
            output.view(-1, output.shape[-1]).addmm_(down.t(), routing.stacks.modules[name][1])
            return output

        return add_delta

    def _learn(self, name: str, given: torch.Tensor) -> None:
        """Modules that are called with the very same tensor, one after the other, are a group from the next pass on."""
        last, before = self._last
        if last is given and name not in self._groups[before]:
            group = (*self._groups[before], name)
            self._groups |= dict.fromkeys(group, group)
        self._last = (given, name)

    def _misfits(self, name: str, parts: Mapping[str, Any], rank: int) -> list[str]:
        linear = self._linears.get(name)
        if linear is None:
            return [f"the model has no linear layer {name!r}"]
        absent = {"lora_A", "lora_B"} - parts.keys()
        if absent:
            return [f"{name} has no {' and no '.join(sorted(absent))}"]
        wanted = {"lora_A": (rank, linear.in_features), "lora_B": (linear.out_features, rank)}
        shapes = [
            f"{name}.{part} has shape {list(parts[part].shape)}, the layer needs {list(shape)}"
            for part, shape in wanted.items()
            if tuple(parts[part].shape) != shape
        ]
        if shapes:
            return shapes
        if not all(bool(tensor.isfinite().all()) for tensor in parts.values()):
            return [f"{name} holds numbers that are not finite"]
        return [] if bool(parts["lora_B"].any()) else [f"{name}.lora_B is all zeros, so it changes nothing"]

    def _pair(self, parts: Mapping[str, Any], scaling: float) -> tuple[torch.Tensor, torch.Tensor]:
        down, up = (parts[part].to(self._device, self._dtype) for part in ("lora_A", "lora_B"))
        return down.contiguous(), (up * scaling).t().contiguous()


def _linears(model: Any) -> dict[str, Any]:
    """The linear layers that an adapter may change, by name; the output layer reads few tokens and is left out."""
    import torch

    head = model.get_output_embeddings()
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and module is not head
    }


def _scaling(folder: Path) -> tuple[float, int]:
    """Scaling and rank of the configuration; UsageError for what is not plain LoRA."""
    path = folder / "adapter_config.json"
    try:
        config = orjson.loads(path.read_bytes())
    except FileNotFoundError:
        raise UsageError(f"{path} is missing; an adapter folder holds it beside adapter_model.safetensors") from None
    except orjson.JSONDecodeError as problem:
        raise UsageError(f"{path} is not JSON: {problem}") from None
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        raise UsageError(f"{path}: peft_type is {dict(config).get('peft_type')!r}; only 'LORA' can be served")
    for name, plain in _UNSUPPORTED.items():
        if name in config and config[name] not in plain:
            raise UsageError(f"{path}: {name} is {config[name]!r}; adapters with it cannot be served together")
    rank, alpha = config.get("r"), config.get("lora_alpha")
    if not isinstance(rank, int) or rank < 1 or not isinstance(alpha, int | float):
        raise UsageError(f"{path}: r is {rank!r} and lora_alpha is {alpha!r}; both must be numbers, r at least 1")
    return (alpha / rank**0.5 if config.get("use_rslora") else alpha / rank), rank


def _tensors(folder: Path) -> dict[str, Any]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = folder / "adapter_model.safetensors"
    try:
        return load_file(path)
    except FileNotFoundError:
        raise UsageError(f"{path} is missing; build the adapter again") from None
    except SafetensorError as problem:
        raise UsageError(f"{path} is damaged ({problem}); restore it or build the adapter again") from None
    except OSError as problem:
        raise SignoffError(f"{path} cannot be read: {problem}") from problem


def _module_of(key: str, folder: Path) -> tuple[str, str]:
    """``base_model.model.<module>.lora_A.weight`` as (module, ``lora_A``)."""
    module, _, rest = key.removeprefix(_PREFIX).rpartition(".lora_")
    if not key.startswith(_PREFIX) or not module or rest not in ("A.weight", "B.weight"):
        raise UsageError(f"adapter {folder} holds {key!r}, which is no LoRA weight of a linear layer")
    return module, f"lora_{rest[0]}"

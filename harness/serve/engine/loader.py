"""From files on disk to an engine: loading a model folder, converting GGUF, and what identifies the result."""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import orjson

from harness.errors import SignoffError, UsageError
from harness.serve.protocol import EngineIdentity

if TYPE_CHECKING:
    from harness.serve.engine.transformers_engine import EngineLimits, TransformersEngine

THREADS = "SIGNOFF_THREADS"
DEVICE = "SIGNOFF_DEVICE"
DType = Literal["float32", "bfloat16"]
# Every role and two turns, so that a template that treats any of them differently gets another digest.
_PROBE = (
    {"role": "system", "content": "Answer briefly."},
    {"role": "user", "content": "Is water wet?"},
    {"role": "assistant", "content": "Yes."},
    {"role": "user", "content": "And ice?"},
)
_NEEDED = ("config.json", "tokenizer.json")


def load_transformers(
    model_dir: Path, dtype: DType = "float32", threads: int | None = None, limits: EngineLimits | None = None
) -> TransformersEngine:
    """An engine for the model folder ``model_dir`` (config, safetensors, tokenizer with chat template).

    ``threads`` defaults to ``SIGNOFF_THREADS``, else to the usable cores. Raises UsageError if the folder lacks
    a file, SignoffError if the model cannot be loaded or its architecture is not supported.
    """
    missing = [name for name in _NEEDED if not (model_dir / name).is_file()]
    if missing:
        raise UsageError(f"{model_dir} is no model folder: it lacks {', '.join(missing)}")
    prepare_process(threads)
    from harness.serve.engine.transformers_engine import TransformersEngine

    model, tokenizer = load_base(model_dir, dtype)
    model = _placed(model)
    return TransformersEngine(model, tokenizer, engine_identity(model, tokenizer), limits)


def prepare_process(threads: int | None = None) -> int:
    """Set up this process for inference and return its number of threads; call it before torch is imported.

    Waiting OpenMP threads must sleep: spinning ones starve each other on a busy machine (ten times slower).
    """
    if "torch" not in sys.modules:
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    import torch

    count = threads or _threads_from_environment() or len(os.sched_getaffinity(0))
    torch.set_num_threads(count)
    return count


def device() -> Literal["cpu", "cuda"]:
    """Where models run: ``SIGNOFF_DEVICE``, or the CPU. Never guessed: results differ in the last bits."""
    value = os.environ.get(DEVICE) or "cpu"
    if value == "cpu":
        return "cpu"
    if value == "cuda":
        return "cuda"
    raise UsageError(f"{DEVICE} is {value!r}; it must be 'cpu' or 'cuda'")


def _placed(model: Any) -> Any:
    import torch

    if device() == "cpu":
        return model
    if not torch.cuda.is_available():
        raise UsageError(f"{DEVICE} is 'cuda', but torch {torch.__version__} sees no CUDA device; unset it")
    return model.to("cuda")


def _threads_from_environment() -> int | None:
    value = os.environ.get(THREADS)
    if not value:
        return None
    if not value.isdecimal() or int(value) == 0:
        raise UsageError(f"{THREADS} is {value!r}; it must be a whole number of threads, 1 or more")
    return int(value)


def load_base(model_dir: Path, dtype: DType) -> tuple[Any, Any]:
    """Model and tokenizer of a model folder; SignoffError for weights that are not whole or no chat template."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(model_dir, local_files_only=True)
        # The stubs of transformers do not know that this option makes the result a pair.
        model, info = cast(
            "tuple[Any, dict[str, Any]]",
            AutoModelForCausalLM.from_pretrained(
                model_dir, dtype=getattr(torch, dtype), local_files_only=True, output_loading_info=True
            ),
        )
    except (OSError, ValueError, KeyError, RuntimeError) as problem:
        raise SignoffError(f"cannot load the model in {model_dir}: {problem}") from problem
    lost = sorted(info["missing_keys"]) + sorted(info["mismatched_keys"])
    if lost:
        # transformers would fill these with random numbers and only warn.
        raise SignoffError(f"the weights in {model_dir} lack or mismatch {len(lost)} tensors, first {lost[0]!r}")
    if not tokenizer.chat_template:
        raise SignoffError(f"the tokenizer in {model_dir} has no chat template")
    return model, tokenizer


def engine_identity(model: Any, tokenizer: Any) -> EngineIdentity:
    """What decides the numbers beside the model's bytes."""
    import torch
    import transformers

    return EngineIdentity(
        engine="signoff-transformers",
        version=f"1+torch{torch.__version__}+transformers{transformers.__version__}",
        dtype=str(model.dtype).removeprefix("torch."),
        cpu_capability=(
            torch.backends.cpu.get_cpu_capability()
            if model.device.type == "cpu"
            else torch.cuda.get_device_name(model.device)
        ),
        tokenizer_digest=tokenizer_template_digest(tokenizer),
    )


def tokenizer_template_digest(tokenizer: Any) -> str:
    """sha256 over the tokenizer's own serialisation and the chat template rendered on a fixed conversation.

    The rendering is part of it because the template's text alone does not say what it does in this version
    of its engine.
    """
    core = orjson.loads(tokenizer.backend_tokenizer.to_str(pretty=False))
    # How the last call padded or cut its texts is kept in there too.
    core |= {"padding": None, "truncation": None}
    try:
        rendered = tokenizer.apply_chat_template(list(_PROBE), tokenize=False, add_generation_prompt=True)
    except Exception as refusal:
        # A template may refuse a role; that it does is part of what it is.
        rendered = f"refused: {type(refusal).__name__}: {refusal}"
    digest = hashlib.sha256()
    for part in (orjson.dumps(core), str(tokenizer.chat_template).encode(), rendered.encode()):
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.hexdigest()


def convert_gguf(gguf: Path, out: Path) -> Path:
    """De-quantise a GGUF file once into the folder ``out`` (float32 safetensors, tokenizer, chat template).

    Takes about half a minute for 135 million parameters; loading the result takes a fraction of a second.
    ``out`` appears only when it is complete. Returns ``out``; raises UsageError if ``gguf`` is not a file.
    """
    if not gguf.is_file():
        raise UsageError(f"{gguf} is not a file; it must be a GGUF model")
    prepare_process()
    import shutil
    import tempfile

    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as scratch:
        folder = Path(scratch) / "model"
        try:
            tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
            model: Any = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
        except (OSError, ValueError, ImportError) as problem:
            raise SignoffError(f"cannot read {gguf}: {problem}") from problem
        # The weights are plain floats now, but save_pretrained still refuses a model that calls itself quantised.
        del model.config.quantization_config
        model.hf_quantizer = None
        model.is_quantized = False
        end = model.generation_config.eos_token_id
        if isinstance(end, int):
            # The file says which token ends a turn; transformers guesses another one for some tokenizers.
            tokenizer.eos_token = tokenizer.convert_ids_to_tokens(end)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        if out.exists():
            shutil.rmtree(out)
        folder.rename(out)
    return out

"""Ways to run requests through an engine, and alone through transformers, for the tests of this room."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from harness.serve.engine.transformers_engine import TransformersEngine
from harness.serve.protocol import Decoding, Generation, GenerationRequest, Message, Output, TextOutput

Solo = Callable[[GenerationRequest], str]


def ask(text: str, output: Output | None = None, **decoding: Any) -> GenerationRequest:
    """One user message."""
    return GenerationRequest((Message("user", text),), Decoding(**decoding), output or TextOutput())


def continuing(prompt: str, **decoding: Any) -> GenerationRequest:
    """Raw text to continue."""
    return GenerationRequest((), Decoding(**decoding), prompt=prompt)


def run_all(engine: TransformersEngine, requests: Sequence[GenerationRequest]) -> list[Generation]:
    """Admit all requests at once and step until every one is finished."""
    tickets = [engine.admit(engine.prepare(request)) for request in requests]
    found: dict[int, Generation] = {}
    while engine.busy:
        for event in engine.step():
            if event.error is not None:
                raise event.error
            if event.generation is not None:
                found[event.ticket] = event.generation
    return [found[ticket] for ticket in tickets]


def generated_alone(model: Any, tokenizer: Any, request: GenerationRequest) -> str:
    """What transformers' own greedy ``generate`` answers to one request on its own."""
    turns = [{"role": message.role, "content": message.content} for message in request.messages]
    text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    ids = tokenizer(text, return_tensors="pt", add_special_tokens=False).input_ids.to(model.device)
    out = model.generate(
        ids,
        max_new_tokens=request.decoding.max_tokens,
        do_sample=False,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    answer: str = tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True)
    return answer

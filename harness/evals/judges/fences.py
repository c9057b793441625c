"""What a judge reads is data: fenced by a mark that it cannot know, with every control token taken apart."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping

from harness.spec.measurement import whole_characters
from harness.store import digest_of

# A token that ends a turn, an instruction or a document in some model's chat template, however it is spaced.
_PIPES = "|｜¦│"
_CONTROL = re.compile(
    rf"[<＜‹«]\s*[{_PIPES}]\s*([^<>{_PIPES}\n]{{1,60}}?)\s*[{_PIPES}]\s*[>＞›»]"
    r"|\[\s*(/?\s*(?:INST|SYS|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS))\s*\]"
    r"|<<\s*(/?\s*SYS)\s*>>"
    r"|<\s*(/?\s*(?:s|bos|eos|pad|unk|start_of_turn|end_of_turn|start_header_id|end_header_id|think|tool_call|"
    r"reserved_special_token_\d+))\s*>",
    re.IGNORECASE,
)
# A line that a prompt file would read as the beginning of a turn; prompts refuse it, so an output could go unjudged.
_ROLE = re.compile(r"^([ \t]*)(system|user|assistant|developer|tool)([ \t]*):([ \t]*)$", re.MULTILINE | re.IGNORECASE)
_FENCE = re.compile(r"<{3,}|>{3,}")
_KEPT = frozenset("\n\t")


def neutralised(text: str) -> str:
    """``text`` without invisible characters, in which no control token, role line or fence stands as such.

    What is taken apart stays readable: ``<|im_end|>`` becomes ``(im_end)``, ``user:`` on its own line ``user -``.
    """
    # Invisible characters go first: they could hide a token from the patterns and not from a tokenizer.
    visible = "".join(
        sign for sign in whole_characters(text) if sign in _KEPT or unicodedata.category(sign) not in ("Cf", "Cc", "Co")
    )
    plain = _CONTROL.sub(lambda found: f"({next(filter(None, found.groups()), '')})", visible)
    plain = _ROLE.sub(r"\1\2\3 -\4", plain)
    return _FENCE.sub(lambda found: ("‹" if found.group(0)[0] == "<" else "›") * len(found.group(0)), plain)


def fenced(values: Mapping[str, str]) -> dict[str, str]:
    """Every value neutralised and between two marks.

    The marks hold a digest of all the values. It is the same in every run, so that answers can be cached, and a text
    that quotes it would have to contain its own digest.
    """
    clean = {name: neutralised(text) for name, text in values.items()}
    mark = digest_of({"fence": 1, "values": clean})[:12]
    return {name: f"<<<{name} {mark}\n{text}\n{mark} {name}>>>" for name, text in clean.items()}

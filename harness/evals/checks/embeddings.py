"""Similarity of meaning by static word embeddings, without a network or a model server."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from harness.evals.checks.expectations import references
from harness.evals.checks.registry import Built, Context, check
from harness.evals.checks.subject import Score, Subject, Unscored, shown
from harness.serve.embedding import StaticEmbedding

_WHEEL = "pypi:wordllama==0.4.0.post1#wordllama/"
WEIGHTS = (
    f"{_WHEEL}weights/l2_supercat_256.safetensors",
    "64b47a2dc493cb8e85944076601189739852d7b64e0e1eedcb1937a251cd9fd5",
)
TOKENIZER = (
    f"{_WHEEL}tokenizers/l2_supercat_tokenizer_config.json",
    "93248f2a9ec36c7b35f700a033d5f36228aae48db61aee31007fa49062cdeb68",
)


@cache
def _loaded(weights: Path, tokenizer: Path) -> StaticEmbedding:
    return StaticEmbedding(weights, tokenizer)


@check("embedding_similarity", unit="score", expects=True)
def embedding_similarity(*, context: Context) -> Built:
    """Cosine of the mean token vectors of output and expectation (the best of several); below 0 counts as 0.

    Word order does not count and negation hardly: "The order was refunded." and "The order was not refunded." reach
    0.96. News articles against their own summary gave 0.25 to 0.74, against other articles -0.08 to 0.30 (5th and
    95th percentile, 60 articles of XSum). Take it for drift, beside checks that know what is right. The vectors come
    from the pinned wheel ``wordllama`` (MIT), 18 MB.
    """

    def model() -> StaticEmbedding:
        return _loaded(context.fetch(*WEIGHTS), context.fetch(*TOKENIZER))

    def run(subject: Subject) -> Score:
        texts, loaded = references(subject), model()
        vectors = [(text, loaded.mean(text)[0]) for text in texts]
        for text, vector in vectors:
            if vector is None:
                raise Unscored(f"the reference {shown(text)} has no token")
        own = loaded.mean(subject.output)[0] if subject.output.strip() else None
        if own is None:
            return Score(0.0, "the output is empty")
        return Score(max(0.0, *(float(own @ vector) for _, vector in vectors)))

    return Built(run, sources={"weights": WEIGHTS[1], "tokenizer": TOKENIZER[1]}, prepare=model)

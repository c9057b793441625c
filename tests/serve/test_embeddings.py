"""Static embeddings, alone and through the gateway."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from safetensors.numpy import save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from harness.errors import SignoffError, UsageError
from harness.serve.embedding import StaticEmbedding, StaticModel, load_static
from harness.serve.gateway.parts import Parts
from harness.serve.gateway.routes import create_app
from harness.serve.protocol import RequestError
from harness.spec.models import Model
from harness.spec.yaml_file import load
from tests.serve.gateways import Echo, Watcher, post

ROOT = Path(__file__).parents[2]
EMBEDDINGS = "/v1/embeddings"
WORDS = {"east": 0, "north": 1, "up": 2, "still": 3}
VECTORS = np.array([[1, 0, 0], [0, 1, 0], [0.6, 0, 0.8], [0, 0, 0]], dtype=np.float16)


@pytest.fixture
def model(tmp_path: Path) -> Model:
    """Four words in space, of which the plane is a space of its own; at most six tokens a text."""
    save_file({"embedding.weight": VECTORS}, tmp_path / "vectors")
    tokenizer = Tokenizer(WordLevel(WORDS, unk_token="still"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(tmp_path / "words"))
    digests = {name: hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() for name in ("vectors", "words")}
    return Model(
        name="space",
        engine="static",
        source="path:vectors",
        sha256=digests["vectors"],
        tokenizer="path:words",
        tokenizer_sha256=digests["words"],
        dimensions=(2,),
        licence="MIT",
        context=6,
    )


@pytest.fixture
def watcher() -> Watcher:
    """Who is told of requests."""
    return Watcher()


@pytest.fixture
def client(model: Model, tmp_path: Path, watcher: Watcher) -> Iterator[TestClient]:
    """A gateway over the model and one app."""
    served = StaticModel(model, tmp_path, tmp_path / "cache")
    app = create_app({}, {"echo": Echo()}, Parts(observers=(watcher,)), embedders={"space": served})
    with TestClient(app) as client:
        yield client


def vectors(answer: Any) -> list[list[float]]:
    """The vectors of an answer, in order of their index."""
    assert answer.status_code == 200, answer.text
    return [each["embedding"] for each in sorted(answer.json()["data"], key=lambda each: each["index"])]


def test_a_text_is_the_mean_of_its_tokens(client: TestClient) -> None:
    """Several texts come in order, each with length 1; tokens are counted."""
    answer = post(client, EMBEDDINGS, model="space", input=["east", "east north"])
    assert vectors(answer) == [[1, 0, 0], pytest.approx([0.5**0.5, 0.5**0.5, 0])]
    body = answer.json()
    assert (body["object"], body["data"][0]["object"]) == ("list", "embedding")
    assert body["usage"] == {"prompt_tokens": 3, "total_tokens": 3}


def test_one_text_needs_no_list(client: TestClient) -> None:
    """A single text is as good as a list of one."""
    assert vectors(post(client, EMBEDDINGS, model="space", input="north")) == [[0, 1, 0]]


def test_base64_holds_the_same_numbers(client: TestClient) -> None:
    """The encoding that OpenAI's client asks for is little-endian float32."""
    (text,) = vectors(post(client, EMBEDDINGS, model="space", input="east north", encoding_format="base64"))
    assert np.frombuffer(base64.b64decode(text), "<f4") == pytest.approx([0.5**0.5, 0.5**0.5, 0])  # type: ignore[arg-type]


def test_a_vector_can_be_cut(client: TestClient) -> None:
    """A length that the model was trained for is cut and has length 1 again; any other is refused by name."""
    assert vectors(post(client, EMBEDDINGS, model="space", input="up", dimensions=2)) == [[1, 0]]
    assert len(vectors(post(client, EMBEDDINGS, model="space", input="up", dimensions=3))[0]) == 3
    for size in (1, 4, 0, 2.5, "2"):
        answer = post(client, EMBEDDINGS, model="space", input="up", dimensions=size)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "dimensions")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": ["east", ""]}, "input"),
        ({"input": "still"}, "input"),
        ({"input": "east " * 7}, "input"),
        ({"input": [1, 2]}, "input.0"),
        ({"input": [[1, 2]]}, "input.0"),
        ({"input": ["east"] * 2049}, "input"),
        ({"input": "east " * 200_000}, "input"),
        ({"input": "east", "encoding_format": "int8"}, "encoding_format"),
        ({"input": "east", "size": 3}, "size"),
        ({"input": "east", "model": "echo"}, "model"),
    ],
)
def test_what_cannot_be_embedded_is_named(client: TestClient, body: dict[str, Any], param: str) -> None:
    """Empty, unknown, long, many or foreign: a 400 that names the field."""
    answer = post(client, EMBEDDINGS, **{"model": "space", **body})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


def test_a_model_without_words_does_not_chat(client: TestClient, model: Model) -> None:
    """It is listed with its digest and its route, and refuses the others."""
    card = client.get("/v1/models/space").json()
    assert (card["digest"], card["routes"]) == (model.digest, [EMBEDDINGS])
    answer = post(client, model="space")
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "model")
    assert post(client, EMBEDDINGS, model="nobody", input="east").status_code == 404


def test_embedding_is_told(client: TestClient, watcher: Watcher) -> None:
    """The turn holds route, model, tokens and digest, and no text."""
    post(client, EMBEDDINGS, model="space", input="east north", user="dana")
    (turn,) = watcher.turns
    assert (turn.route, turn.model, turn.tokens.prompt, turn.user) == ("embeddings", "space", 2, "dana")
    assert (turn.outcome, turn.input, turn.output) == ("ok", "", "")


def test_other_bytes_are_refused(model: Model, tmp_path: Path) -> None:
    """Weights or a tokenizer other than the file says are not used, and change the digest."""
    for field in ("sha256", "tokenizer_sha256"):
        changed = model.model_copy(update={field: "0" * 64})
        with pytest.raises(UsageError, match="expected 0000"):
            load_static(changed, tmp_path, tmp_path / "cache")
        assert Model(**changed.model_dump()).digest != model.digest


def test_files_of_another_form_are_named(model: Model, tmp_path: Path) -> None:
    """What holds no single matrix, no tokenizer, or vectors shorter than promised is an error with the file."""
    save_file({"a": VECTORS, "b": VECTORS}, tmp_path / "two")
    for weights, words, sizes in (("two", "words", ()), ("words", "words", ()), ("vectors", "vectors", ()),
                                  ("vectors", "words", (9,))):  # fmt: skip
        with pytest.raises(SignoffError, match=r"vectors|two|words"):
            StaticEmbedding(tmp_path / weights, tmp_path / words, sizes=sizes)


def test_any_thread_may_ask(model: Model, tmp_path: Path) -> None:
    """Many threads at once get the vectors that one alone gets."""
    from concurrent.futures import ThreadPoolExecutor

    embedding = load_static(model, tmp_path, tmp_path / "cache")
    texts = ["east", "north", "east north up", "up up"] * 25
    alone = [embedding.embed([text])[0].vector.tolist() for text in texts]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda text: embedding.embed([text])[0].vector.tolist(), texts))
    assert together == alone
    with pytest.raises(RequestError, match="text 1"):
        embedding.embed(["east", "still"])


def test_only_static_models_embed(model: Model) -> None:
    """The fields of one engine are refused for another, and a static model needs its tokenizer."""
    plain = {"name": "x", "licence": "MIT", "context": 9}
    with pytest.raises(ValueError, match="needs 'tokenizer'"):
        Model(**plain, engine="static", source="path:a", sha256="a" * 64)
    with pytest.raises(ValueError, match="tokenizer is for engine 'static'"):
        Model(**plain, source="path:a", sha256="a" * 64, tokenizer="path:b")


@pytest.mark.network
def test_the_model_that_ships(tmp_path: Path) -> None:
    """The pinned wheel's vectors put a paraphrase near and another topic far, also when they are cut."""
    model, problems = load(ROOT / "models/wordllama-256/model.yaml", "model.yaml", Model)
    assert model is not None, problems
    embedding = load_static(model, ROOT, tmp_path)
    texts = ["The parcel arrived broken.", "My package was damaged on delivery.", "Interest rates rose in March."]
    for size in (64, 128, 256):
        own, near, far = (each.vector for each in embedding.embed(texts, size))
        assert own @ near > own @ far + 0.1
        assert len(own) == size

"""Apps as a closed world, and the order of their steps."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from harness.spec.apps import App


def app(*steps: dict[str, Any], **more: Any) -> App:
    """An app with the input ``message``."""
    return App.model_validate({"name": "desk", "inputs": {"message": {}}, "steps": steps, **more})


def step(name: str, **more: Any) -> dict[str, Any]:
    """A function step."""
    return {"id": name, "kind": "function", "function": "f.py:f", **more}


def choice(**output: Any) -> dict[str, Any]:
    """A model step that chooses."""
    return {"id": "c", "kind": "llm", "prompt": "a/b/1.0.0", "model": "m", "output": {"kind": "choice", **output}}


def test_order_is_in_waves() -> None:
    """Inputs, conditions, needs and option sources all order the steps; what is independent shares a wave."""
    made = app(
        step("d", inputs={"x": "steps.b.output", "y": "steps.c.output"}),
        step("b", when="steps.a.output.big"),
        step("a"),
        choice(options_from="steps.a.output"),
    )
    assert made.order() == (("a",), ("b", "c"), ("d",))
    assert made.result == "steps.c.output"


def test_long_circle_is_named() -> None:
    """Only the steps of the circle, and those behind it, are named."""
    with pytest.raises(ValidationError, match="steps a, b, c depend on each other"):
        app(step("z"), step("a", needs=["c"]), step("b", needs=["a"]), step("c", needs=["b"]))


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ([step("a"), step("a")], "step id 'a' stands twice"),
        ([step("a", needs=["b"])], "refers to step 'b'; known steps: a"),
        ([step("a", when="steps.q.output == 1")], "refers to step 'q'"),
        ([step("a", inputs={"x": "inputs.mesage"})], "declared inputs: message"),
        ([step("a", inputs={"x": "message"})], "should match pattern"),
        ([step("A")], "should match pattern"),
        ([step("a", retries=9)], "less than or equal to 5"),
        ([step("a", function="f:f")], "should match pattern"),
        ([choice()], "exactly one of 'options' and 'options_from'"),
        ([choice(options=["x", "y"], options_from="steps.c.output")], "exactly one of"),
        ([choice(options=["x"])], "leave nothing to choose"),
        ([choice(options=["x", "x"])], "hold a duplicate"),
        ([], "at least 1 item"),
    ],
)
def test_mistakes_are_named(steps: list[dict[str, Any]], said: str) -> None:
    """Each mistake is refused with what would be right."""
    with pytest.raises(ValidationError, match=said):
        app(*steps)


def test_options_as_a_list_name_themselves() -> None:
    """A list of options maps each text to itself."""
    (made,) = app(choice(options=["yes", "no"])).steps
    assert made.kind == "llm" and made.output.kind == "choice"
    assert made.output.options == {"yes": "yes", "no": "no"}


def test_nothing_changes_after_loading() -> None:
    """An app is frozen."""
    with pytest.raises(ValidationError):
        app(step("a")).name = "other"  # type: ignore[misc]

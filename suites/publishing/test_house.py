"""The house rules: what must hold of a page whatever the model writes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

ARTICLE = (
    "The council of Harrow voted on Tuesday to close 3 of its libraries. Mayor Ellen Price said the savings would pay "
    "for repairs to schools. Residents have until 14 May to object to the plan, and two hundred of them marched."
)
KEPT = "The council voted to close libraries."
SENTENCES = st.sampled_from(
    [
        KEPT,
        "Mayor Ellen Price said the savings would pay for repairs!",
        "This article is about the closing of libraries.",
        "The minister Boris Holt resigned after the vote in London.",
        "The council will save 70% of its budget & more.",
        "Residents have until 14 May to object.",
        "And then",
        "",
    ]
)
Step = Callable[..., Any]


@pytest.fixture(scope="module")
def edit(app: Any) -> Step:
    """The step after the model's edit, which lets nothing pass that the page may not hold."""
    return app.step("desk")


@pytest.fixture(scope="module")
def publish(app: Any) -> Step:
    """The step that lays out the page."""
    return app.step("publish")


@given(draft=st.lists(SENTENCES, max_size=8).map(" ".join))
def test_edited_text_obeys_the_house(edit: Step, draft: str) -> None:
    """Whatever the draft, the summary is not empty, shouts nothing, and names nobody that the article does not."""
    summary = edit(draft=draft, article=ARTICLE)
    assert summary and summary[0].isupper()
    assert not set("!%&") & set(summary)
    assert not any(word in summary for word in ("Boris", "Holt", "London", "70", "This article"))


@given(draft=st.lists(SENTENCES, max_size=8).map(" ".join))
def test_editing_twice_changes_nothing(edit: Step, draft: str) -> None:
    """An edited text is already edited."""
    once = edit(draft=draft, article=ARTICLE)
    assert edit(draft=once, article=ARTICLE) == once


def test_good_sentence_stays_and_is_not_repeated(edit: Step) -> None:
    """A whole sentence about the article goes through unchanged, once."""
    assert edit(draft=f"{KEPT} {KEPT}", article=ARTICLE) == KEPT


@pytest.mark.parametrize("draft", ["", "And then", "Boris Holt of Paris resigned on the spot today."])
def test_article_stands_in_for_a_useless_draft(edit: Step, draft: str) -> None:
    """Where nothing of the draft is fit to print, the article's first sentence is."""
    assert edit(draft=draft, article=ARTICLE).startswith("The council of Harrow voted on Tuesday")


@given(headline=st.text(max_size=200) | st.lists(SENTENCES, max_size=3).map(" ".join))
def test_headline_fits_the_page(publish: Step, headline: str) -> None:
    """Any headline becomes one line of at most 70 characters, and the page says whose it is."""
    page = publish(headline=headline, summary=f"{KEPT} Residents have until 14 May to object.", article=ARTICLE)
    assert 0 < len(page["headline"]) <= 70
    assert "\n" not in page["headline"] and not page["headline"].endswith(".")
    assert page["headline_source"] in ("model", "summary")


@pytest.mark.slow
def test_every_page_has_its_parts(outputs: dict[str, Any]) -> None:
    """Each article of the suite becomes a page with headline and summary."""
    pages = [row["steps"]["publish"]["output"] for row in outputs.values() if row["status"] == "ok"]
    assert pages
    assert all(page["headline"] and page["summary"] for page in pages)

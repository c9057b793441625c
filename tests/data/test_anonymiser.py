"""The anonymiser: spans, settings, conversations, JSON, threads, and that it needs no network."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from harness.data import NoTexts, load_anonymiser
from harness.data.anonymiser import Anonymiser
from harness.data.placeholders import Vault
from harness.data.spans import Span, settle
from harness.errors import UsageError
from harness.spec.serving import Privacy
from tests.data import planted, survivors


def test_spans_are_those_of_the_original(anonymiser: Anonymiser) -> None:
    """Findings point into the text as it came, also behind characters that are folded to more or fewer."""
    text = "ﬁn\u200bally… Straße ½: d\u200bana＠example．com, ok?"
    (found,) = anonymiser.anonymise(text).found
    assert (found.entity, text[found.start : found.end]) == ("EMAIL", "d\u200bana＠example．com")
    assert anonymiser.anonymise(text).text == "ﬁn\u200bally… Straße ½: <EMAIL_1>, ok?"


@pytest.mark.parametrize(
    "smuggled",
    [
        "４１１１ １１１１ １１１１ １１１１", "4111\u200b1111\u200b1111\u200b1111",
        "4111\u20111111\u20111111\u20111111", "④①①① ①①①① ①①①① ①①①①", "٤١١١ ١١١١ ١١١١ ١١١١",
        "4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1", "4111.1111.1111.1111", "d\u0430na@ex\u0430mple.com",
        "dana＠example．com", "dana (at) example (dot) com", "dana[at]example[dot]com", "dana @ example . com",
        "dana&#64;example.com", "dana%40example.com", "d a n a @ example.com",
        "+44\u00a07700\u2009900\u202f123", "O\u200bR\u200bD-47831", "ＯＲＤ－４７８３１",
        "DE89·3704·0044·0532·0130·00", "de89 3704 0044 0532 0130 00", "four one five five five five oh one two",
        "192。0。2。77", "DE89 3704 0044 0532 0130 00 GB29 NWBK 6016 1331 9268 19",
        "4111 1111 1111 1111 5555 5555 5555 4444",
    ],
)  # fmt: skip
def test_spelling_smuggles_nothing_through(anonymiser: Anonymiser, smuggled: str) -> None:
    """Wide digits, hidden characters, look-alikes and addresses written for people are found whole."""
    left = anonymiser.anonymise(f"it is {smuggled} ok").text
    assert survivors(left, [smuggled]) == []
    assert left.replace("<", " <").split()[:2] == ["it", "is"]
    assert sum(c.isalnum() for c in left.split(">")[-1]) == 2


def test_conversation_keeps_its_numbers(anonymiser: Anonymiser) -> None:
    """One vault: the same person is the same placeholder in every message, also where nothing announces her."""
    vault = Vault()
    first = anonymiser.anonymise("Hi, I'm Runa Halvey, order ORD-47105.", vault).text
    second = anonymiser.anonymise("So is 47105 here? And tell Halvey, not halvey in lower case.", vault)
    assert first == "Hi, I'm <PERSON_1>, order <ORDER_1>."
    assert survivors(second.text, ["47105"]) == []
    assert "Halvey" not in second.text
    assert vault.restore(first) == "Hi, I'm Runa Halvey, order ORD-47105."


def test_users_own_placeholder_is_nobodys_data(anonymiser: Anonymiser) -> None:
    """A placeholder that the user typed never becomes an address, whether it comes before or after that address."""
    before = Vault()
    text = anonymiser.anonymise("<EMAIL_1> or dana@example.com?", before).text
    assert text == "<EMAIL_1> or <EMAIL_2>?"
    assert before.restore("<EMAIL_1>") == "<EMAIL_1>"
    after = Vault()
    anonymiser.anonymise("I'm at dana@example.com", after)
    typed = anonymiser.anonymise("send the code to <EMAIL_1> please", after).text
    assert "<EMAIL_1>" not in typed
    assert after.restore(typed) == "send the code to <EMAIL_1> please"


def test_own_answer_keeps_its_placeholders(anonymiser: Anonymiser) -> None:
    """An answer to anonymised messages uses their placeholders; what it adds itself is anonymised."""
    vault = Vault()
    anonymiser.anonymise("I'm at dana@example.com", vault)
    answer = anonymiser.anonymise("Sent to <EMAIL_1>, copy to boss@example.com", vault, own=True).text
    assert answer == "Sent to <EMAIL_1>, copy to <EMAIL_2>"


def test_a_placeholder_hides_no_number(anonymiser: Anonymiser) -> None:
    """What looks like a placeholder with an order number in it is not passed over."""
    assert "48213" not in anonymiser.anonymise("see <ORDER_48213>").text


def test_only_wanted_kinds() -> None:
    """With ``entities``, nothing else is replaced; an unknown one is refused with the list of those there are."""
    few = Anonymiser(Privacy(entities=("EMAIL",)))
    assert few.anonymise("dana@example.com, ORD-47105").text == "<EMAIL_1>, ORD-47105"
    with pytest.raises(UsageError, match=r"unknown kinds of identifier: MAIL; there are ACCOUNT, .*EMAIL"):
        Anonymiser(Privacy(entities=("MAIL", "EMAIL")))


def test_threshold_leaves_weak_findings() -> None:
    """A higher threshold keeps the long number of unknown meaning, not the card with its checksum."""
    strict = Anonymiser(Privacy(threshold=0.9))
    assert (
        strict.anonymise("parcel 00340434161094 card 4111 1111 1111 1111").text == "parcel 00340434161094 card <CARD_1>"
    )


def test_overlaps_are_settled() -> None:
    """Overlapping spans become one over all of them, named by the longest, then by score; touching ones stay two."""
    spans = [Span(0, 4, "A", 0.9), Span(2, 8, "B", 0.5), Span(8, 9, "C", 0.1)]
    assert settle(spans) == settle(reversed(spans)) == [Span(0, 8, "B", 0.5), Span(8, 9, "C", 0.1)]
    assert settle([Span(0, 4, "B", 0.5), Span(0, 4, "A", 0.9)]) == [Span(0, 4, "A", 0.9)]
    assert settle([Span(0, 4, "B", 0.5), Span(0, 4, "A", 0.5)]) == [Span(0, 4, "A", 0.5)]


def test_json_is_anonymised_to_the_bottom(anonymiser: Anonymiser) -> None:
    """Strings, names of fields and telling numbers are replaced, by one vault; everything else is as it was."""
    value = {
        "first_name": "Xu", "phone": 493055501, "created": 1772000000, "ok": True, "n": None, "amount": 19.9,
        "messages": [{"content": "mail dana@example.com", "to": ["dana@example.com"]}], "dana@example.com": 1,
    }  # fmt: skip
    assert anonymiser.anonymise_json(value) == {
        "first_name": "<PERSON_1>", "phone": "<PHONE_1>", "created": 1772000000, "ok": True, "n": None, "amount": 19.9,
        "messages": [{"content": "mail <EMAIL_1>", "to": ["<EMAIL_1>"]}], "<EMAIL_1>": 1,
    }  # fmt: skip


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_text_that_is_json_is_read_as_such(anonymiser: Anonymiser, depth: int) -> None:
    """Escaped line ends and quotes hide nothing, however deep JSON stands in JSON, and leave it JSON."""
    for message in planted():
        text = message.text
        for _ in range(depth):
            text = json.dumps({"messages": [{"role": "user", "content": text}]}, ensure_ascii=depth == 2)
        left = anonymiser.anonymise(text).text
        for _ in range(depth):
            left = json.loads(left)["messages"][0]["content"]
        assert survivors(left, message.planted) == []


def test_fields_in_json_text(anonymiser: Anonymiser) -> None:
    """A telling field is found in text that is JSON, and in JSON within it."""
    text = json.dumps({"first_name": "Xu", "size": "Xu", "arguments": json.dumps({"lastName": "Yi", "phone": "1"})})
    assert anonymiser.anonymise(text).text == (
        '{"first_name": "<PERSON_1>", "size": "Xu", "arguments": "{\\"lastName\\": \\"<PERSON_2>\\", '
        '\\"phone\\": \\"<PHONE_1>\\"}"}'
    )


def test_long_texts_are_read_to_the_end(anonymiser: Anonymiser) -> None:
    """An identifier is found wherever it stands in a text of many windows, also across their borders."""
    filler = "the bench is still not here and nobody answers, which is a pity. "
    for place in range(10_700, 12_100, 175):
        text = (filler * 400)[:place] + " dana.reyes@example.com " + filler * 150
        assert len(text) > 20_000
        assert survivors(anonymiser.anonymise(text).text, ["dana.reyes@example.com"]) == []


def test_threads_see_what_one_thread_sees(anonymiser: Anonymiser) -> None:
    """Eight threads at once give what one gives."""
    texts = [message.text for message in planted()]
    alone = [anonymiser.anonymise(text).text for text in texts]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda text: anonymiser.anonymise(text).text, texts * 3))
    assert together == alone * 3


def test_nothing_leaves_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading and using an anonymiser opens no socket at all, not even to this machine."""

    def refuse(*_: Any, **__: Any) -> None:
        pytest.fail("the anonymiser opened a socket")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    fresh = Anonymiser()
    for message in planted()[:60]:
        fresh.anonymise(message.text)


def test_presidio_quotes_nothing(anonymiser: Anonymiser, caplog: pytest.LogCaptureFixture) -> None:
    """No log line of any level is written while texts are anonymised: presidio's would quote them."""
    caplog.set_level(0)
    for message in planted()[:60]:
        anonymiser.anonymise(message.text)
    assert caplog.records == []


def test_without_presidio_it_says_what_to_install() -> None:
    """Without the extra, loading is a mistake of the user's that names the command; figures can still be kept."""
    code = (
        "import sys; sys.modules['presidio_analyzer'] = None\n"
        "from harness.data import load_anonymiser\n"
        "from harness.errors import UsageError\n"
        "try:\n    load_anonymiser()\n"
        "except UsageError as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'signoff[serve]'" in done.stdout


def test_figures_only() -> None:
    """``NoTexts`` keeps numbers and names of fields, and not one letter of a text."""
    assert NoTexts().anonymise("I'm Dana").text == ""
    kept = NoTexts().anonymise_json({"text": "Dana", "tokens": 3, "steps": [{"id": "triage", "ok": True}]})
    assert kept == {"text": "", "tokens": 3, "steps": [{"id": "", "ok": True}]}


def test_importing_the_room_is_light() -> None:
    """The room and its recognisers import neither presidio nor spaCy: the base installation has none."""
    code = (
        "import harness.data.anonymiser, sys; print({'presidio_analyzer', 'spacy', 'phonenumbers'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_loading_gives_an_anonymiser() -> None:
    """``load_anonymiser`` gives what ``privacy`` asks for."""
    assert load_anonymiser(Privacy(entities=("ORDER",))).anonymise("ORD-47105 of dana@example.com").text == (
        "<ORDER_1> of dana@example.com"
    )

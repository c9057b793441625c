"""Names of fields that say what stands in them: ``{"first_name": "Dana"}`` needs no rule about names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from harness.data.spans import Span

_KINDS = {
    "PERSON": "first_name last_name given_name family_name surname full_name customer_name user_name_full recipient "
    "recipient_name addressee cardholder card_holder account_holder contact_name contact_person vorname nachname",
    "ADDRESS": "street street_address address address_line address_line1 address_line2 address1 address2 "
    "postal_address shipping_address billing_address delivery_address home_address postcode postal_code zip "
    "zip_code zipcode",
    "PHONE": "phone phone_number telephone telephone_number mobile mobile_number cell cell_phone fax whatsapp tel "
    "msisdn",
    "EMAIL": "email e_mail email_address mail",
    "BIRTH_DATE": "birth_date birthdate date_of_birth dob birthday",
    "IBAN": "iban",
    "CARD": "card_number credit_card credit_card_number pan cc_number",
    "ACCOUNT": "account_number bank_account sort_code routing_number",
    "NATIONAL_ID": "ssn national_id passport passport_number tax_id social_security_number id_number driver_license",
    "ORDER": "order_id order_number order_no",
    "CUSTOMER": "customer_id customer_number customer_no client_id",
    "SECRET": "password passwd pin cvv cvc api_key secret access_token refresh_token",
    "HANDLE": "username user_name login nickname handle",
    "IP": "ip ip_address client_ip remote_addr mac_address",
}
_KIND_OF = {name.replace("_", ""): kind for kind, names in _KINDS.items() for name in names.split()}


def field_entity(name: str) -> str | None:
    """What the values of a field are, told by its name (``firstName`` as ``first-name``); None if it tells nothing."""
    return _KIND_OF.get(re.sub(r"[\W_]", "", name).casefold())


# The backslashes before its quotes say how deep JSON stands in JSON.
_NAME = re.compile(r'(\\*)"([\w \-]{2,40})\1"\s{0,8}:\s{0,8}')
_NUMBER = re.compile(r"-?\d[\d.]*")
_LONGEST = 400


def fields_in(text: str) -> Iterator[Span]:
    """Values of telling fields in a text that is JSON; places are those of the text itself."""
    if '"' not in text:
        return
    for found in _NAME.finditer(text):
        entity, quote = field_entity(found[2]), f'{found[1]}"'
        if entity is None:
            continue
        begun = found.end() + len(quote)
        if text.startswith(quote, found.end()):
            ended = text.find(quote, begun, begun + _LONGEST)
            if ended > begun:
                yield Span(begun, ended, entity, 0.8)
        elif number := _NUMBER.match(text, found.end()):
            yield Span(*number.span(), entity, 0.8)


def strings_of(value: Any) -> Iterator[str]:
    """Every string in plain JSON data, names of fields included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield str(key)
            yield from strings_of(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from strings_of(inner)

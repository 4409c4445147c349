"""More pages of `describe`: what is in messages and maps, and the parameters and actions that they carry."""

from collections.abc import Mapping
from typing import Any, Final

from pixwire_protocol.admin import ACTIONS
from pixwire_protocol.heads import BODIES, ITEMS, MESSAGES
from pixwire_protocol.params import ADAPTER, KINDS, PARAMS
from pixwire_protocol.texts import BODY_FIELD_TEXTS, BODY_TEXTS, FIELD_TEXTS

_PRESENT: Final = ("always", "sometimes")


def other_page(name: str) -> dict[str, Any] | None:
    """The page of an action of ADMIN, a parameter, a map or a field; None when nothing has this name.

    A name may be several of these (`model` is a parameter, a map and a field): then the page has all of them.
    """
    pages = [page for page in (_action(name), _parameter(name), _map(name), _field(name)) if page is not None]
    if not pages:
        return None
    return pages[0] if len(pages) == 1 else {"kind": "several", "name": name, "pages": pages}


def other_names() -> list[str]:
    """Every name that has such a page."""
    fields = (item.name for spec in MESSAGES.values() for item in spec.fields)
    return list(dict.fromkeys([*ACTIONS, *PARAMS, *BODIES, *ITEMS, *fields]))


def other_lines(page: Mapping[str, Any]) -> list[str]:
    """Such a page as lines."""
    match page["kind"]:
        case "several":
            return [line for one in page["pages"] for line in other_lines(one)]
        case "action":
            fields = (
                f"needs {', '.join(page['needs']) or 'nothing'}; takes {', '.join(page['takes']) or 'nothing else'}"
            )
            return [f"{page['name']}  action of ADMIN", f"  {page['text']}", f"  {fields}; answer: {page['answer']}"]
        case "parameter":
            lines = [f"{page['name']}  parameter", f"  {page['text']}", f"  {page['allowed']}"]
            lines += [f"    {key}: {allowed}" for key, allowed in page.get("keys", {}).items()]
            return lines + ([f"  not for {', '.join(page['not_for'])}"] if page["not_for"] else [])
        case "map":
            wide = max(len(field["name"]) for field in page["fields"])
            rows = [
                f"    {field['name']:<{wide}}  {field['type']}, {field['present']}: {field['text']}"
                for field in page["fields"]
            ]
            return [f"{page['name']}  map", f"  {page['text']}", *rows]
    return [f"{page['name']}  field", *(f"  of {one['of']}: {one['text']}" for one in page["of"])]


def _action(name: str) -> dict[str, Any] | None:
    spec = ACTIONS.get(name)
    if spec is None:
        return None
    needs, takes, answer = list(spec.required), list(spec.optional), spec.answer.replace("`", "")
    return {"kind": "action", "name": name, "needs": needs, "takes": takes, "answer": answer, "text": spec.description}


def _parameter(name: str) -> dict[str, Any] | None:
    spec = PARAMS.get(name)
    if spec is None:
        return None
    without = [kind.name for kind in KINDS.values() if name in kind.without]
    page: dict[str, Any] = {"kind": "parameter", "name": name, "text": spec.description, "allowed": spec.allowed}
    keys = {key: inner.allowed for key, inner in ADAPTER.items()} if name == "adapters" else {}
    return page | {"not_for": without} | ({"keys": keys} if keys else {})


def _map(name: str) -> dict[str, Any] | None:
    if name not in BODIES and name not in ITEMS:
        return None
    fields = [
        {"name": field, "type": kind, "present": present if present in _PRESENT else f"in {present}", "text": text}
        for (body, field), (kind, present, text) in BODY_FIELD_TEXTS.items()
        if body == name
    ]
    return {"kind": "map", "name": name, "text": BODY_TEXTS[name], "fields": fields}


def _field(name: str) -> dict[str, Any] | None:
    of = [{"of": message, "text": text} for (message, field), text in FIELD_TEXTS.items() if field == name]
    return {"kind": "field", "name": name, "of": of} if of else None

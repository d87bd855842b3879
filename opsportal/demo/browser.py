"""A browser without a screen: opens pages, fills in forms, presses buttons, the way a person without JavaScript does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import urljoin

import httpx

_VOID = {"input", "br", "hr", "img", "meta", "link"}


class PageLacks(Exception):
    """The page has no such form or link, or it said no."""


@dataclass(frozen=True)
class Button:
    """Where a button sends its form, and what it adds."""

    action: str
    adds: dict[str, str]


@dataclass
class Form:
    """One form of a page: its fields with their values, and its buttons by their words."""

    action: str
    method: str
    fields: dict[str, str] = field(default_factory=dict)
    buttons: dict[str, Button] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self.links: list[tuple[str, str]] = []
        self.messages: list[str] = []
        self._form: Form | None = None
        self._link: str | None = None
        self._select: str | None = None
        self._text: list[str] | None = None
        self._in_button = False
        self._button = Button("", {})
        self._message_depth = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if self._message_depth and tag not in _VOID:
            self._message_depth += 1
        if tag == "form":
            self._form = Form(values.get("action", ""), values.get("method", "get").lower())
            self.forms.append(self._form)
        elif tag == "a" and "href" in values:
            self._link, self._text = values["href"], []
        elif "messagelist" in values.get("class", "").split():
            self._message_depth, self._text = 1, []
        if self._form is not None:
            self._field(tag, values)

    def _field(self, tag: str, values: dict[str, str]) -> None:
        form, name = self._form, values.get("name", "")
        if form is None:
            return
        if tag == "button" or (tag == "input" and values.get("type") == "submit"):
            adds = {name: values.get("value", "")} if name else {}
            self._button = Button(values.get("formaction", form.action), adds)
            self._in_button, self._text = tag == "button", []
            if tag == "input":
                form.buttons[values.get("value", "")] = self._button
        elif tag == "input" and name and (values.get("type") not in ("checkbox", "radio") or "checked" in values):
            form.fields[name] = values.get("value", "")
            form.names.add(name)
        elif tag == "textarea" and name:
            form.fields.setdefault(name, "")
            form.names.add(name)
        elif tag == "select" and name:
            self._select = name
            form.names.add(name)
        elif tag == "option" and self._select and (self._select not in form.fields or "selected" in values):
            form.fields[self._select] = values.get("value", "")

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._form = None
        elif tag == "select":
            self._select = None
        elif tag == "button" and self._in_button and self._form is not None and self._text is not None:
            self._form.buttons[" ".join("".join(self._text).split())] = self._button
            self._in_button, self._text = False, None
        elif tag == "a" and self._link is not None and self._text is not None:
            self.links.append((" ".join("".join(self._text).split()), self._link))
            self._link, self._text = None, None
        if self._message_depth:
            self._message_depth -= 1
            if self._message_depth == 0 and self._text is not None:
                self.messages.append(" ".join("".join(self._text).split()))
                self._text = None

    def handle_data(self, data: str) -> None:
        if self._text is not None:
            self._text.append(data)


class Browser:
    """One person's session. Redirects are followed; an answer from 400 on raises PageLacks with the page's own words."""

    def __init__(self, base_url: str) -> None:
        self._client = httpx.Client(base_url=base_url, follow_redirects=True, timeout=30, trust_env=False)
        self.url = ""
        self.html = ""
        self._page = _Page()

    def open(self, path: str) -> None:
        """Go to a page of the portal."""
        self._take(self._client.get(path))

    def sign_in(self, username: str, password: str) -> None:
        """Fill in the sign-in page. Raises PageLacks when the portal does not accept it."""
        self.open("/login/?next=/")
        self.press("Log in", username=username, password=password)
        if "/login/" in self.url:
            raise PageLacks(f"The portal did not sign {username} in.")

    def has(self, button: str) -> bool:
        """Whether the page offers this person a button with these words."""
        return any(button in form.buttons for form in self._page.forms)

    def press(self, button: str, **values: str) -> None:
        """Fill in the form that holds ``button`` and send it as it stands."""
        form = next((form for form in self._page.forms if button in form.buttons), None)
        if form is None:
            offered = sorted({name for form in self._page.forms for name in form.buttons})
            raise PageLacks(f"{self.url} has no button “{button}”. It offers: {', '.join(offered) or 'none'}.")
        unknown = values.keys() - form.names
        if unknown:
            raise PageLacks(f"The form of “{button}” on {self.url} has no field {', '.join(sorted(unknown))}.")
        data = form.fields | form.buttons[button].adds | values
        target = urljoin(self.url, form.buttons[button].action)
        if form.method == "post":
            self._take(self._client.post(target, data=data, headers={"Referer": self.url}))
        else:
            self._take(self._client.get(target, params=data))

    def post(self, path: str, **values: str) -> httpx.Response:
        """Send a hand-made POST with this session's CSRF token, past any form."""
        token = self._client.cookies.get("csrftoken", "")
        return self._client.post(path, data={"csrfmiddlewaretoken": token, **values}, headers={"Referer": self.url})

    def form_of(self, button: str) -> Form | None:
        """The form that holds a button, to look at."""
        return next((form for form in self._page.forms if button in form.buttons), None)

    def link(self, words: str) -> str:
        """Where the first link leads whose words contain ``words``."""
        found = next((href for text, href in self._page.links if words in text), None)
        if found is None:
            raise PageLacks(f"{self.url} has no link “{words}”.")
        return found

    @property
    def messages(self) -> list[str]:
        """What the portal said at the top of the page."""
        return self._page.messages

    def download(self, button: str, **values: str) -> httpx.Response:
        """Press a button whose answer is a file."""
        form = self.form_of(button)
        if form is None:
            raise PageLacks(f"{self.url} has no button “{button}”.")
        data = form.fields | form.buttons[button].adds | values
        target = urljoin(self.url, form.buttons[button].action)
        answer = self._client.request(form.method.upper(), target, data=data, headers={"Referer": self.url})
        answer.raise_for_status()
        return answer

    def events(self, path: str) -> Iterator[tuple[str, dict[str, object]]]:
        """Server-sent events, as name and data, until the portal closes the stream."""
        with self._client.stream("GET", path, timeout=httpx.Timeout(30, read=60)) as answer:
            answer.raise_for_status()
            name, data = "message", ""
            for line in answer.iter_lines():
                if line.startswith("event:"):
                    name = line.removeprefix("event:").strip()
                elif line.startswith("data:"):
                    data += line.removeprefix("data:").strip()
                elif not line and data:
                    yield name, json.loads(data)
                    if name == "end":
                        return
                    name, data = "message", ""

    def close(self) -> None:
        self._client.close()

    def _take(self, answer: httpx.Response) -> None:
        self.url, self.html = str(answer.url), answer.text
        self._page = _Page()
        self._page.feed(self.html)
        if answer.status_code >= 400:
            words = "; ".join(self.messages) or f"status {answer.status_code}"
            raise PageLacks(f"{self.url}: {words}")

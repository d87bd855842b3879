"""A person and a program that look at everything a running portal shows, over HTTP, and keep what they saw."""

from __future__ import annotations

import http.cookiejar
import re
import urllib.error
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from tests.security.places import Texts

_TOKEN = re.compile(r'name="csrfmiddlewaretoken" value="(\w+)"')
_LINK = re.compile(r'href="(/[^"#]*)"')
MOST_PAGES = 1_500
MOST_OF_A_KIND = 25


@dataclass
class Browser:
    """Signed in through the form, as people are."""

    base: str
    seen: Texts = field(default_factory=dict)
    statuses: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.cookies = http.cookiejar.CookieJar()
        self._opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self.cookies))

    def ask(
        self, path: str, values: dict[str, str] | bytes | None = None, *, kind: str = "page", **headers: str
    ) -> str:
        """One request, a POST with ``values``; what came back is kept under its address, headers too."""
        data = urllib.parse.urlencode(values).encode() if isinstance(values, dict) else values
        request = urllib.request.Request(f"{self.base}{path}", data, headers)
        try:
            with self._opener.open(request, timeout=60) as answer:
                status, body, said = answer.status, answer.read().decode(errors="replace"), answer.headers
        except urllib.error.HTTPError as error:
            status, body, said = error.code, error.read().decode(errors="replace"), error.headers
        method = "POST" if data is not None else "GET"
        kept = "\n".join(f"{name}: {value}" for name, value in said.items() if name.lower() != "set-cookie")
        self.seen[f"{kind} {method} {path}"] = f"{kept}\n{body}"
        self.statuses[path] = status
        return str(body)

    def token_of(self, page: str) -> str:
        """The token of the forms on a page."""
        found = _TOKEN.search(page)
        assert found, page[:2000]
        return found[1]

    def sign_in(self, name: str, password: str) -> None:
        token = self.token_of(self.ask("/login/"))
        self.ask("/login/", {"username": name, "password": password, "csrfmiddlewaretoken": token})
        assert self.session, "Nobody was signed in."

    @property
    def session(self) -> str:
        """The value of the session's cookie."""
        return next((each.value or "" for each in self.cookies if each.name == "sessionid"), "")

    def walk(self, begin: Iterable[str]) -> None:
        """Follow the links of the portal from these pages on, to at most MOST_OF_A_KIND pages that differ in numbers only."""
        todo, known = list(begin), set(begin)
        kinds: Counter[str] = Counter()
        while todo and len(known) < MOST_PAGES:
            page = self.ask(todo.pop(0))
            for found in _LINK.findall(page):
                path = found.replace("&amp;", "&")
                is_list = path.startswith("/migrations_audit/") and "?" in path  # the same rows in another order
                kind = re.sub(r"\d+|[0-9a-f]{64}", "N", path)
                if path in known or is_list or path.startswith(("/static/", "/logout")):
                    continue
                kinds[kind] += 1
                if kinds[kind] <= MOST_OF_A_KIND:
                    known.add(path)
                    todo.append(path)
        assert not todo, f"More than {MOST_PAGES} pages; the walk does not end."

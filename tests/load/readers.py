"""Simulated readers: each reads in order over HTTP, and notes what was acknowledged."""

from __future__ import annotations

import hashlib
import http.client
import json
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Event, Thread
from typing import Any
from uuid import uuid4

from tests.load.world import QUESTIONS, World

TIMEOUT_S = 60.0
AGAIN_S = 0.2
TWICE = 7
META = re.compile(r'name="lightbox-token" content="([^"]+)"')


class Away(Exception):
    """The server did not answer."""


@dataclass
class Notes:
    """What one reader saw.

    Args:
        sent: Token of a reading to the scores sent. acknowledged: Tokens that the server said it
            holds. submit_ms: Duration of every submission. other_ms: Of every other request.
        errors: Status and sentence of what was not as it should be. lost: Requests that met no
            server. finished: Whether everything was read.
    """

    sent: dict[str, dict[str, float]] = field(default_factory=dict)
    acknowledged: list[str] = field(default_factory=list)
    submit_ms: list[float] = field(default_factory=list)
    other_ms: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    lost: int = 0
    finished: bool = False


def scores(token: str) -> dict[str, float]:
    """Scores 1 to 5 that follow from the token, so that each answer can be told from any other."""
    digest = hashlib.sha256(token.encode()).digest()
    return {q.id: float(digest[n] % 5 + 1) for n, q in enumerate(QUESTIONS)}


class Reader(Thread):
    """One reader in a thread.

    Args:
        world: The study. name: Account of the reader.
        addresses: Servers; the first is used, and the next one when it does not answer.
        start: When it is set, all readers begin. stop: When it is set, the reader ends.
        patient: Whether a server that does not answer is waited for.
    """

    def __init__(
        self,
        world: World,
        name: str,
        addresses: Sequence[str],
        start: Event,
        stop: Event,
        patient: bool,
    ) -> None:
        super().__init__(name=name, daemon=True)
        self.notes, self.ready = Notes(), Event()
        self._world, self._hosts = world, [address.split("//")[1] for address in addresses]
        self._begun, self._ended, self._patient = start, stop, patient
        self._line: http.client.HTTPConnection | None = None
        self._token = ""

    def run(self) -> None:
        """Read until told to stop, or until everything is read."""
        try:
            page = self._ask("GET", f"/reading/{self._world.code}")
            found = META.search(page.decode())
            self._token = found.group(1) if found else ""
            following = self._json("GET", f"/reading/api/studies/{self._world.code}")["next"]
            self.ready.set()
            self._begun.wait()
            while following is not None and not self._ended.is_set():
                following = self._read(following)
            self.notes.finished = following is None
        except Exception as error:  # a thread's edge: what went wrong is a result of the test
            self.notes.errors.append(f"{type(error).__name__}: {error}")
        finally:
            self.ready.set()
            self._hang_up()

    def _read(self, token: str) -> str | None:
        """One reading, as the page does it; the next one's token."""
        at = f"/reading/api/items/{token}"
        item = self._json("GET", at)
        if item.get("token") != token or set(item["questions"]) != {q.id for q in QUESTIONS}:
            self.notes.errors.append("a reading shows something else")
        self._json("POST", f"{at}/shown", {})
        given = scores(token)
        answers = {
            name: {"status": "answered", "value": value, "text": "", "marks": None, "reason": ""}
            for name, value in given.items()
        }
        self._json("PUT", f"{at}/draft", {"sequence": 1, "answers": answers, "tab": self.name})
        key = str(uuid4())
        sent = {"key": key, "answers": answers, "comment": "", "revision": 0, "reason": "",
                "timing": {"active_ms": 5, "first_ms": 1}}  # fmt: skip
        self.notes.sent[token] = given
        said = self._submit(at, sent, token)
        if len(self.notes.acknowledged) % TWICE == 0:
            self._submit(at, sent, token)
        following: str | None = said["next"]
        return following

    def _submit(self, at: str, sent: dict[str, Any], token: str) -> dict[str, Any]:
        began = time.perf_counter()
        said = self._json("POST", f"{at}/submit", sent, timed=False)
        self.notes.submit_ms.append((time.perf_counter() - began) * 1000)
        if said["revision"] != 1:
            self.notes.errors.append(f"revision {said['revision']} of an answer sent once")
        if not self.notes.acknowledged or self.notes.acknowledged[-1] != token:
            self.notes.acknowledged.append(token)
        return said

    def _json(self, method: str, path: str, body: Any = None, timed: bool = True) -> dict[str, Any]:
        began = time.perf_counter()
        found: dict[str, Any] = json.loads(self._ask(method, path, body))
        if timed:
            self.notes.other_ms.append((time.perf_counter() - began) * 1000)
        return found

    def _ask(self, method: str, path: str, body: Any = None) -> bytes:
        """The body of a good answer; a server that does not answer is asked again if patient."""
        while True:
            try:
                status, found = self._once(method, path, body)
            except (OSError, http.client.HTTPException):
                self._hang_up()
                self._hosts.append(self._hosts.pop(0))
                self.notes.lost += 1
                if not self._patient or self._ended.is_set():
                    raise Away("the server did not answer") from None
                time.sleep(AGAIN_S)
                continue
            if status != 200:
                raise ValueError(f"{method} {status}: {found[:200].decode(errors='replace')}")
            return found

    def _once(self, method: str, path: str, body: Any) -> tuple[int, bytes]:
        if self._line is None:
            self._line = http.client.HTTPConnection(self._hosts[0], timeout=TIMEOUT_S)
        headers = {
            "cookie": f"lightbox-session={self._world.logins[self.name]}",
            "origin": f"http://{self._hosts[0]}",
            "sec-fetch-site": "same-origin",
            "x-lightbox-token": self._token,
            "content-type": "application/json",
        }
        sent = None if body is None else json.dumps(body)
        self._line.request(method, path, sent, headers)
        answer = self._line.getresponse()
        return answer.status, answer.read()

    def _hang_up(self) -> None:
        if self._line is not None:
            self._line.close()
            self._line = None

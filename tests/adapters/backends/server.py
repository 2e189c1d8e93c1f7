"""A real HTTP server on this machine, for real SDKs: it says what it is told to, and remembers what it was asked."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Asked:
    """A request as it came in; header names are in lower case."""

    path: str
    headers: Mapping[str, str]
    body: Any


@dataclass(frozen=True)
class Told:
    """A response: a value as JSON, or text as it is, or the events of a stream. What comes after the last event?"""

    value: object = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    text: str | None = None
    events: Sequence[tuple[str, object]] | None = None
    then: str = "end"  # or "hang", "reset"


Reply = Callable[[Asked], Told]


class Server:
    """Answers requests with what ``replies`` holds, in its order; the last one is said for ever."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.hung_up = threading.Event()
        self.arrived = threading.Event()
        self.released = threading.Event()
        self.replies: list[Told | Reply] = []
        self._lock = threading.Lock()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._http.daemon_threads = False
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01})

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    def say(self, *replies: Told | Reply) -> None:
        """Answer with these from now on."""
        self.replies = list(replies)

    def answer(self, asked: Asked) -> Told:
        with self._lock:
            self.asked.append(asked)
            reply = self.replies[0] if len(self.replies) == 1 else self.replies.pop(0)
        return reply if isinstance(reply, Told) else reply(asked)

    def __enter__(self) -> Server:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.released.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


def _handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            size = int(self.headers.get("content-length", 0))
            content = self.rfile.read(size)
            headers = {name.lower(): value for name, value in self.headers.items()}
            told = server.answer(Asked(self.path, headers, json.loads(content or b"null")))
            with contextlib.suppress(ConnectionError):
                self._tell(told)

        def _tell(self, told: Told) -> None:
            self.close_connection = True
            if told.then != "end" and told.events is None:
                self._part(told.then)
                return
            if told.events is None:
                content = (json.dumps(told.value) if told.text is None else told.text).encode()
                self._head(told, "application/json", {"Content-Length": str(len(content))})
                self.wfile.write(content)
                return
            self._head(told, "text/event-stream", {})
            for name, data in told.events:
                line = f"event: {name}\n" if name else ""
                self.wfile.write(f"{line}data: {data if isinstance(data, str) else json.dumps(data)}\n\n".encode())
                self.wfile.flush()
            if told.then != "end":
                self._part(told.then)

        def _head(self, told: Told, kind: str, more: Mapping[str, str]) -> None:
            self.send_response(told.status)
            for name, value in {"Content-Type": kind, "Connection": "close", **more, **told.headers}.items():
                self.send_header(name, value)
            self.end_headers()

        def _part(self, how: str) -> None:
            """Never answer until the client hangs up or the test is over, or cut the wire."""
            server.arrived.set()
            if how == "hang":
                self.connection.settimeout(30)
                with contextlib.suppress(OSError):
                    if not self.connection.recv(1):
                        server.hung_up.set()
            else:
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler


@contextlib.contextmanager
def serving(*replies: Told | Reply) -> Iterator[Server]:
    """Run a server that answers with these."""
    with Server() as server:
        server.say(*replies)
        yield server

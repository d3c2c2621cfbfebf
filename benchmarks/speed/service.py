"""The measured service, a process of its own on a core of its own: canned replies, and nothing else to do.

Settings come as one line of JSON on standard input, the address goes out as one line; it ends when its
standard input does.

Settings: `size` (bytes of a picture); `certificate` (a PEM file with its key: then over TLS).

A thread a connection, which waits in the system's own `recv` and `sendall`: no copy of a reply is made here.
"""

from __future__ import annotations

import base64
import json
import os
import random
import re
import socket
import ssl
import sys
import threading

_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
# What a picture is told by: a JPEG of 1024 x 1024 that says nothing else.
_JPEG = bytes.fromhex("ffd8ffe000104a46494600010100000100010000ffc0000b080400040001011100")


def canned_reply(size: int) -> bytes:
    """A whole reply of the kind that the service is known to send, with a picture of so many bytes."""
    picture = _JPEG + random.Random(size).randbytes(size - len(_JPEG))
    item = {"b64_json": base64.b64encode(picture).decode()}
    body = json.dumps({"created": 1753792957, "data": [item]}).encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def serve(line: socket.socket, reply: bytes) -> None:
    """Answer every request on one connection with the same reply."""
    with line:
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while _read_request(line):
            line.sendall(reply)


def _read_request(line: socket.socket) -> bool:
    """One whole request, whatever is in it; False when the client has hung up."""
    got = b""
    while (end := got.find(b"\r\n\r\n")) < 0 or len(got) < end + 4 + _length(got[:end]):
        more = line.recv(65536)
        if not more:
            return False
        got += more
    return True


def _length(head: bytes) -> int:
    found = _LENGTH.search(head)
    return int(found[1]) if found else 0


def accept(listener: socket.socket, reply: bytes, tls: ssl.SSLContext | None) -> None:
    """A thread for each connection, for as long as the process lives."""

    def answer(line: socket.socket) -> None:
        try:
            serve(tls.wrap_socket(line, server_side=True) if tls else line, reply)
        except OSError:
            line.close()  # whoever asked is gone

    while True:
        line, _ = listener.accept()
        threading.Thread(target=answer, args=(line,), daemon=True).start()


def main() -> None:
    settings = json.loads(sys.stdin.readline())
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    tls = None
    if settings["certificate"]:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(settings["certificate"])
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    arguments = (listener, canned_reply(settings["size"]), tls)
    threading.Thread(target=accept, args=arguments, daemon=True).start()
    # By name, as a certificate speaks of names.
    print(f"{'https' if tls else 'http'}://localhost:{listener.getsockname()[1]}", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()

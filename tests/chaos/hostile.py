"""Texts made to do harm, as a prompt, an id, the name of a file, or the words of the service."""

from __future__ import annotations

import base64
from collections.abc import Callable

from aiohttp import web
from service import reply

# Conceal, wipe, a title, a link, the clipboard, a bell, a device's answer, the same with C1, backspaces.
ESCAPES = (
    "\x1b[8m\x1b[2J\x1b]0;title\x07\x1b]8;;http://x.example\x1b\\\x1b]52;c;cHduZWQ=\x07\x1b[6n\x05\x1bP+q\x1b\\"
    "\x9b8m\x9d0;title\x9c\x90q\x9c\b\x7f\x0e\u202e\u2066\u2028\u2029\x85\U000e0041"
)
FORGED = "\r\nerror: forged\nhint: forged"
PATHS = [
    "../../escape", "..", "../escape.jpg", "/etc/passwd", "//server/share", "\\\\server\\share",
    "..\\..\\escape", "C:\\Windows\\x", "C:escape", "file:///etc/passwd", "%2e%2e%2fescape", "a/b", "a\\b",
    "a:b", "x::$DATA", ".hidden", "a\0.jpg", "../\0", "trailing dots...", "trailing blanks   ",
    "\u2024\u2024/escape", "\uff0e\uff0e\uff0fescape",
]  # fmt: skip
RESERVED = [
    "con", "CON", "aux.jpg", "nul", "prn.txt", "com1", "COM¹", "lpt9", "conin$", "clock$", "metadata.jsonl",
    ".asi-image", ".asi-image/journal.sqlite", "desktop.ini", ".DS_Store", "-rf", "--out", "~", "$HOME",
]  # fmt: skip
ALIKE = [
    "A Fox", "a fox", "A FOX", "a  fox", "a-fox", "\uff41 fox", "a fox.", "a fox…", "\u00e9", "e\u0301", "É",
    "E\u0301", "ß", "SS", "ss", "ſs", "ǆ", "ǅ", "K", "\u212a", "Ω", "\u2126", "i", "İ", "ı", "Ꭰ", "ꭰ",
]  # fmt: skip
ODD = [
    ESCAPES, FORGED, "<>:\"/\\|?*'`;&", "two\nlines", "\u202egnp.exe", "\u200b", "\u2060x\ufeff", "\u3164",
    "🎨" * 50, "👩\u200d🚀 🏴\U000e0067\U000e0062\U000e007f", "\ufffe\uffff\U0010ffff", "\ue000", "🦊",
    "\u0301alone", "a" + "\u0301\u0316" * 300, "long " * 2000, "長" * 3000, "x" * 10_240, "\ufdfa" * 600,
    "\u0390" * 100, " " * 3000 + "late",
]  # fmt: skip
HOSTILE = [*PATHS, *RESERVED, *ALIKE, *ODD]
ERRORS: list[Callable[[], web.Response]] = [
    lambda: reply({"error": {"message": ESCAPES + FORGED, "type": ESCAPES, "code": ESCAPES}}, 400),
    lambda: reply({"detail": [{"loc": [ESCAPES, FORGED], "msg": ESCAPES}]}, 422),
    lambda: web.Response(status=400, text=f"<html>{ESCAPES}{FORGED}</html>", content_type="text/html"),
    lambda: web.Response(status=400, body=b"\x1b[8m\x9b8m\xff\xfe\0" + ESCAPES.encode("utf-16")),
    lambda: web.Response(status=400, body=b'{"error": "\\ud800\\u001b[8m\\u009b8m"}'),
    lambda: reply({"error": "\x1b[8m" * 200_000}, 400),
    lambda: web.Response(status=400, text="\x1b]0;" * 10_000),
    lambda: web.Response(status=302, headers={"Location": "http://x.example/\x1b[8m\u202e"}),
    lambda: reply({"error": ESCAPES + FORGED, "id": ESCAPES}),
    lambda: reply({"data": [{"b64_json": ESCAPES + FORGED}]}),
    lambda: reply({"data": [{"b64_json": base64.b64encode(ESCAPES.encode()).decode()}]}),
    lambda: reply({"data": [{"url": f"http://x.example/{ESCAPES}{FORGED}"}]}),
    lambda: reply({"data": [{"url": "http://x.example/" + "x\x1b[8m" * 200_000}]}),
    lambda: reply({"data": [{"url": "https://[\x1b[8m"}]}),
]

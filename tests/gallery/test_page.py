"""The page in a browser: what one sees, searches, opens and copies, and what no prompt can make of it."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from browser import barriers, wait_until
from service import picture

from asi_image_async.core.naming import digest
from asi_image_async.gallery import make_gallery
from asi_image_async.models import ImageRequest
from asi_image_async.runtime.journal import Journal, State

from .conftest import Fill

HOSTILE = [
    "</script><script>document.title='broken'</script>",
    "<img src=x onerror=\"document.title='broken'\">",
    "<!-- <script>",
    "\u2028\u2029 \x00 ${document.title='broken'} `",
    "\" onmouseover=\"document.title='broken'",
    "javascript:document.title='broken'",
    "&lt;b&gt; <b>bold</b>",
    "\u202egnp.exe",
]


def opened(page: Any, folder: Path, **settings: Any) -> Any:
    made = make_gallery(folder, **settings)
    page.goto(made.path.resolve().as_uri())
    return page


def prompts(page: Any) -> list[str]:
    return page.locator(".tile .words").all_inner_texts()


def test_every_picture_is_there_the_newest_first_with_its_thumbnail(page: Any, fill: Fill) -> None:
    folder = fill({"prompt": "a red fox"}, {"prompt": "a blue whale"})
    opened(page, folder)
    assert prompts(page) == ["a blue whale", "a red fox"]
    assert page.locator("#count").inner_text() == "2 prompts"
    wait_until(page, "[...document.images].filter(i => i.closest('.tile')).every(i => i.naturalWidth == 40)")
    assert (folder / ".asi-image" / "thumbnails" / "0.jpg.jpg").is_file()


def test_a_search_finds_what_has_all_its_words(page: Any, fill: Fill) -> None:
    opened(page, fill({"prompt": "a red fox in snow"}, {"prompt": "a red boat"}, {"prompt": "Schnee"}))
    page.get_by_label("Search").fill("RED snow")
    assert prompts(page) == ["a red fox in snow"]
    assert page.locator("#count").inner_text() == "1 of 3 prompts"
    page.get_by_label("Search").fill("nothing of the kind")
    assert prompts(page) == []
    assert page.locator("#nothing").is_visible()


def test_filters_are_for_size_model_and_columns_of_few_values(page: Any, fill: Fill) -> None:
    lines = [
        {"prompt": "one", "Category": "Animals", "size": "1792x1024", "n": 1},
        {"prompt": "two", "Category": "Vehicles", "n": 2, "flag": True},
        {"prompt": "three", "Category": "Animals", "model": "other", "n": 2, "flag": False},
        {"prompt": "four", "number": 7.0, "note": {"deep": 1}},
    ]
    opened(page, fill(*lines))
    names = [text.split()[0] for text in page.locator("#filters label").all_inner_texts()]
    assert names == ["Search", "size", "model", "Category", "n", "flag", "number"]
    page.get_by_label("Category").select_option("Animals")
    assert prompts(page) == ["three", "one"]
    page.get_by_label("model").select_option("other")
    assert prompts(page) == ["three"]
    page.get_by_label("model").select_option("all")
    page.get_by_label("Category").select_option("(none)")
    assert prompts(page) == ["four"]
    page.get_by_label("Category").select_option("all")
    page.get_by_label("flag").select_option("true")
    assert prompts(page) == ["two"]
    page.get_by_label("flag").select_option("all")
    page.get_by_label("number").select_option("7")
    assert prompts(page) == ["four"]


def test_many_filters_and_long_prompts_leave_room_for_what_they_are_for(page: Any, fill: Fill) -> None:
    columns = [{f"column {number}": n for number in range(60)} for n in range(8)]
    opened(page, fill(*columns, {"prompt": "long words " * 1500}))
    height = page.viewport_size["height"]
    assert page.locator("header").bounding_box()["height"] <= 0.4 * height
    page.locator(".tile").first.click()
    assert page.locator("#close").bounding_box()["y"] < height


def test_a_sentence_has_its_end_where_its_script_has_it(page: Any, fill: Fill) -> None:
    opened(page, fill({"prompt": "שועל אדום, בשלג."}))
    ends = """text => { const range = document.createRange(), node = text.firstChild, end = node.length;
        range.setStart(node, end - 1); range.setEnd(node, end); const dot = range.getBoundingClientRect();
        range.setStart(node, 0); range.setEnd(node, 1); return dot.x < range.getBoundingClientRect().x }"""
    assert page.locator(".tile .words").evaluate(ends)


def test_a_column_may_have_any_name(page: Any, fill: Fill) -> None:
    names = ("append", "reset", "elements", "constructor", "toString", "__proto__")
    opened(page, fill({"prompt": "one"} | dict.fromkeys(names, "a"), {"prompt": "two"}))
    for name in names:
        page.get_by_label(name).select_option("(none)")
        assert prompts(page) == ["two"]
        page.get_by_label(name).select_option("a")
        assert prompts(page) == ["one"]
        page.get_by_label(name).select_option("all")
        assert prompts(page) == ["two", "one"]


async def fail_some(folder: Path) -> None:
    async with Journal(folder / ".asi-image" / "journal.sqlite") as journal:
        for prompt, state in (("a refused one", State.FAILED), ("a lost one", State.UNKNOWN)):
            claim = await journal.claim(digest(ImageRequest(prompt=prompt)))
            await journal.record(claim.key, state, f"<b>why {state.value}</b>", prompt)


@pytest.fixture
def with_failures(fill: Fill) -> Path:
    folder = fill({"prompt": "a fox"})
    worker = threading.Thread(target=lambda: asyncio.run(fail_some(folder)))  # this thread is the browser's
    worker.start()
    worker.join()
    return folder


def test_failures_are_listed_with_their_reasons(page: Any, with_failures: Path) -> None:
    opened(page, with_failures)
    assert page.locator("#count").inner_text() == "3 prompts, 2 without a picture"
    assert sorted(page.locator(".reason").all_inner_texts()) == [
        "failed: <b>why failed</b>",
        "unknown: <b>why unknown</b>",
    ]
    page.get_by_label("status").select_option("failed")
    assert prompts(page) == ["a refused one"]
    page.locator(".tile").click()
    assert "<b>why failed</b>" in page.locator("#facts").inner_text()
    assert not page.locator("#large-picture").is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_has_no_barrier_that_a_checker_finds(page: Any, with_failures: Path, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)
    opened(page, with_failures)
    assert barriers(page) == []
    page.locator(".tile").first.click()
    assert barriers(page) == []


def test_the_large_view_is_gone_through_by_keyboard_and_gives_the_focus_back(page: Any, fill: Fill) -> None:
    opened(page, fill(*({"prompt": f"number {number}", "attempts": number} for number in range(5))))
    page.locator(".tile").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    large = page.get_by_role("dialog")
    assert page.locator("#large-prompt").inner_text() == "number 3"
    wait_until(page, "document.getElementById('large-picture').naturalWidth == 40")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert page.locator("#large-prompt").inner_text() == "number 1"
    assert page.locator("#large-picture").get_attribute("alt") == "number 1"
    page.keyboard.press("End")
    page.keyboard.press("ArrowRight")  # there is no more
    assert page.locator("#large-prompt").inner_text() == "number 0"
    assert page.get_by_role("button", name="Next picture").is_disabled()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowLeft")
    assert page.locator("#large-prompt").inner_text() == "number 4"
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Escape")
    assert not large.is_visible()
    wait_until(page, "document.activeElement.innerText == 'number 3'")


def test_the_large_view_tells_all_that_is_known(page: Any, fill: Fill) -> None:
    line = {
        "prompt": "a fox", "revised_prompt": "a red fox", "elapsed": 12.3, "attempts": 2,
        "created": "2026-07-29T12:00:00+00:00", "Category": "Animals",
    }  # fmt: skip
    opened(page, fill(line))
    page.locator(".tile").click()
    facts = page.locator("#facts").inner_text()
    for each in (
        "40 x 30",
        "1024x1024",
        "asi1-mini",
        "12.3 s",
        "2",
        "a red fox",
        "Animals",
        "2026-07-29",
        "0.jpg",
    ):
        assert each in facts


@pytest.mark.parametrize("window", [(390, 844), (600, 900), (740, 360), (1280, 720)], ids=str)
@pytest.mark.parametrize("size", [(1024, 1792), (1792, 1792)], ids=str)
def test_the_large_view_has_the_picture_beside_its_words_in_any_window(
    page: Any, fill: Fill, window: tuple[int, int], size: tuple[int, int]
) -> None:
    folder = fill({"prompt": "a fox " * 40})
    (folder / "0.jpg").write_bytes(picture(size=size))
    page.set_viewport_size({"width": window[0], "height": window[1]})
    opened(page, folder).locator(".tile").click()
    wait_until(page, "document.querySelector('#large-picture').naturalWidth > 40")
    place, stage, words = (
        page.locator(each).bounding_box() for each in ("#large-picture", ".stage", "dialog section")
    )
    assert place["width"] / place["height"] == pytest.approx(size[0] / size[1], rel=0.02)
    for start, length in (("x", "width"), ("y", "height")):
        assert stage[start] - 1 <= place[start]
        assert place[start] + place[length] <= stage[start] + stage[length] + 1
    assert place["x"] + place["width"] <= words["x"] + 1 or place["y"] + place["height"] <= words["y"] + 1


def test_a_prompt_can_be_copied(page: Any, fill: Fill) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    opened(page, fill({"prompt": "a fox <in> the snow"}))
    page.locator(".tile").click()
    page.get_by_role("button", name="Copy prompt").click()
    page.get_by_role("button", name="Copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == "a fox <in> the snow"


def test_a_prompt_that_tries_to_be_a_script_is_text(page: Any, fill: Fill) -> None:
    lines = [
        {"prompt": text, "revised_prompt": text, "size": text, "Category": text, text: "column"}
        for text in HOSTILE
    ]
    opened(page, fill(*lines))
    shown = page.evaluate("[...document.querySelectorAll('.tile .words')].map(each => each.textContent)")
    assert shown == HOSTILE[::-1]
    page.locator(".tile").first.click()
    for _ in HOSTILE:
        page.keyboard.press("ArrowRight")
    assert page.evaluate("document.querySelectorAll('script').length") == 2
    assert page.title() == "pictures"


def test_nothing_but_its_own_script_runs_and_nothing_is_asked_of_a_network(browser: Any, fill: Fill) -> None:
    page = opened(browser.new_page(), fill({"prompt": "a fox"}))
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        ran = page.evaluate(
            """async (address) => {
              const script = document.createElement("script");
              script.textContent = "window.broken = 1";
              document.head.append(script);
              const image = new Image();
              image.src = address + "x.png";
              await fetch(address).catch(() => 0);
              await new Promise(resolve => setTimeout(resolve, 200));
              return window.broken;
            }""",
            f"http://127.0.0.1:{listener.getsockname()[1]}/",
        )
        with pytest.raises(BlockingIOError):
            listener.accept()
    assert ran is None
    assert sum("Content Security Policy" in text for text in said) >= 3
    page.close()


def test_names_of_every_kind_are_found_and_none_outside_the_folder(
    page: Any, fill: Fill, tmp_path: Path
) -> None:
    names = ["100% #1?.jpg", "ä狐 fox.jpg", "a'b&c.jpg"]
    folder = fill(*({"file_name": name} for name in names))
    (tmp_path / "secret.jpg").write_bytes((folder / names[0]).read_bytes())
    with open(folder / "metadata.jsonl", "a", encoding="utf-8") as file:
        file.write('{"file_name": "../secret.jpg", "prompt": "out"}\n{"file_name": ".hidden.jpg"}\n{"torn')
    opened(page, folder)
    assert len(prompts(page)) == 3
    wait_until(page, "[...document.images].filter(i => i.closest('.tile')).every(i => i.naturalWidth == 40)")


def test_a_page_elsewhere_finds_the_pictures_too(page: Any, fill: Fill, tmp_path: Path) -> None:
    (tmp_path / "some pages").mkdir()
    opened(page, fill({"prompt": "a fox"}), output=tmp_path / "some pages" / "here.html")
    wait_until(page, "document.querySelector('.tile img').naturalWidth == 40")


def test_ten_thousand_are_quick_to_open_to_search_and_to_go_through(page: Any, fill: Fill) -> None:
    lines = [{"file_name": f"{number}.jpg", "prompt": f"picture number {number}"} for number in range(10_000)]
    folder = fill(*lines)
    opened(page, folder)
    began = time.monotonic()
    page.reload()
    page.locator(".tile").first.wait_for()
    opening = time.monotonic() - began
    assert len(prompts(page)) < 1000  # the others come as one scrolls
    page.get_by_label("Search").fill("number 1234")
    assert prompts(page) == ["picture number 1234"]
    page.get_by_label("Search").fill("")
    for _ in range(5):
        page.mouse.wheel(0, 20_000)
        page.wait_for_timeout(50)
    assert len(prompts(page)) > 500
    assert opening < 10  # a page that lays all of them out takes minutes


def test_it_is_dark_where_the_system_is(page: Any, fill: Fill) -> None:
    folder = fill({"prompt": "a fox"})
    colours = []
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        opened(page, folder)
        colours.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert colours == ["rgb(255, 255, 255)", "rgb(13, 17, 23)"]

from importlib.metadata import entry_points

import pytest

pytest_plugins = ["pytester"]

APP = """
import asyncio, json, os, urllib.request
import pytest
from asi_image_async.emulator import Knobs

def ask(prompt):
    request = urllib.request.Request(
        os.environ["ASI_ONE_BASE_URL"] + "/image/generate",
        data=json.dumps({"prompt": prompt, "size": "64x64"}).encode(),
        headers={"Authorization": "Bearer " + os.environ["ASI_ONE_API_KEY"]},
    )
    with urllib.request.urlopen(request, timeout=5) as reply:
        return json.load(reply)

def test_an_unmodified_app_meets_the_emulator(asi_emulator):
    assert ask("a cat")["data"][0]["b64_json"].startswith("/9j/")
    assert (asi_emulator.billed, asi_emulator.received[0].prompt) == (1, "a cat")
    assert asi_emulator.base_url == os.environ["ASI_ONE_BASE_URL"]

@pytest.mark.asi_emulator(shape="B", api_key="mine")
def test_the_marker_sets_the_knobs(asi_emulator):
    assert os.environ["ASI_ONE_API_KEY"] == "mine"
    assert asyncio.run(asyncio.to_thread(ask, "a dog"))["status"] == 1

@pytest.mark.asi_emulator(Knobs(shape="B"))
def test_the_marker_takes_them_made_up(asi_emulator):
    assert ask("a dog")["status"] == 1

@pytest.mark.asi_emulator(knobs=Knobs(shape="B", api_key="mine"))
def test_by_their_name_too(asi_emulator):
    assert os.environ["ASI_ONE_API_KEY"] == "mine"
    assert ask("a dog")["status"] == 1

@pytest.mark.asi_emulator("B")
def test_what_is_none_is_told(asi_emulator):
    pass

def test_nothing_is_left_behind():
    import threading
    assert "ASI_ONE_BASE_URL" not in os.environ
    assert not [t for t in threading.enumerate() if t.name.startswith("asi-emulator")]

@pytest.mark.asi_emulator(host="192.0.2.1")
def test_what_cannot_start_says_so(asi_emulator):
    pass
"""


def test_users_can_test_their_own_apps(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ASI_ONE_BASE_URL", raising=False)
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    pytester.makepyfile(APP)
    # Through its entry point where the package is installed, as users have it; by name where not.
    installed = {entry.name for entry in entry_points(group="pytest11")}
    by_name = ["-p", "asi_image_async.emulator.pytest_plugin"]
    extra = [] if "asi_image_async" in installed else by_name
    order = ["-p", "no:randomly", "-p", "no:cacheprovider", "--strict-markers", "-W", "error"]
    result = pytester.runpytest_subprocess(*order, *extra, timeout=30)
    result.assert_outcomes(passed=5, errors=2)
    result.stdout.fnmatch_lines(["*TypeError: knobs are Knobs, not 'B'*", "*OSError*"])

"""The demo in a real browser: from an example to a playing video, cancelling, errors, two visitors, a phone, German."""

from __future__ import annotations

import io
import json
import wave
from contextlib import suppress

import numpy as np
import pytest
from browser import open_another, open_browser, take_screenshot
from PIL import Image

gr = pytest.importorskip("gradio", reason="the demo is optional: pip install gradio")

import app  # noqa: E402
from iasa.avatar.speaker import speaker_names  # noqa: E402
from iasa.demo import launch, service  # noqa: E402
from iasa.media.reader import read_video  # noqa: E402
from iasa.paths import EXAMPLES, SPEECH  # noqa: E402
from iasa.speech import read_audio  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
PATIENCE = 120_000  # milliseconds


@pytest.fixture(scope="module")
def browser():
    with open_browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    made = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(service, "output_folder", lambda: made)
        patch.setattr(launch, "output_folder", lambda: made)
        service.load_pipeline()
        page = app.make_app()
        _, url, _ = page.launch(prevent_thread_lock=True, quiet=True, share=False, **app.launch_options(False))
        yield url
        page.close()


@pytest.fixture(scope="module")
def speech(tmp_path_factory) -> str:
    """0.6 s of an example clip."""
    return write_speech(tmp_path_factory.mktemp("speech") / "speech.wav", 0.6)


def write_speech(path, seconds: float) -> str:
    audio, _ = read_audio(SPEECH / "tea.mp3")
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes((audio[: int(seconds * 16_000)] * 32767).astype("<i2").tobytes())
    return str(path)


@pytest.fixture
def visit(browser, address):
    contexts, errors = [], []

    def start(**context):
        contexts.append(browser.new_context(**({"viewport": {"width": 1280, "height": 900}} | context)))
        page = contexts[-1].new_page()
        page.set_default_timeout(PATIENCE)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("request", lambda request: request.url.startswith(("http", "ws")) and "127.0.0.1" not in request.url
                and "localhost" not in request.url and errors.append(request.url))  # fmt: skip
        page.goto(address)
        page.wait_for_selector("#generate")
        return page

    yield start
    for context in contexts:
        context.close()
    assert not errors, errors


def give_speech(page, speech: str) -> None:
    page.locator("input[type=file]").first.set_input_files(speech)
    page.wait_for_selector("text=s of speech")


def wait_for_video(page) -> str:
    """The address of the finished video, once it plays in the place of the pieces."""
    page.wait_for_function(
        "(() => { const v = document.querySelector('#player video'); return v.src.includes('/file=') && v.readyState > 1; })()"
    )
    return page.get_attribute("#player video", "src")


def wait_for_pieces(page) -> None:
    page.wait_for_function(
        "document.querySelector('#player video').media && document.querySelector('#player video').buffered.length"
    )


def places(page) -> dict[str, list[float]]:
    """Where the page's parts are and how large: whatever the player shows, they stay there."""
    parts = ("#generate", "#player", "#clip-actions", "#live-microphone", "#inputs")
    boxes = {part: page.locator(part).first.bounding_box() for part in parts}
    return {part: [box[key] for key in ("x", "y", "width", "height")] for part, box in boxes.items()}


def wait_for_height(page, inner) -> None:
    """Waits until the explorer's frame is as high as what is in it: neither cut nor blank below. Busy machines are late,
    and a browser lays out a frame that is out of sight when it likes."""
    for _ in range(60):
        frame, whole = page.locator("#explorer-page iframe").bounding_box(), inner.locator("#explorer").bounding_box()
        if frame["height"] > 800 and abs(frame["height"] - whole["height"]) < 8:
            return
        page.wait_for_timeout(500)
    raise AssertionError((frame, whole))


def open_tab(page, name: str) -> None:
    """Click on a tab; on a narrow screen it may be behind the menu of what does not fit."""
    tab = page.get_by_role("tab", name=name)
    if tab.count() and tab.first.is_visible():
        tab.first.click()
    else:
        page.locator(".overflow-menu > button:visible").first.click()
        page.locator(".overflow-dropdown button", has_text=name).first.click()


def test_from_speech_to_a_playing_video(visit, tmp_path, speech):
    page = visit()
    take_screenshot(page, "app_speak_empty")
    assert page.locator("#player img").get_attribute("src").endswith("alba.png")
    assert page.is_disabled("[id='take.mp4']") and page.is_disabled("#explore-this")
    give_speech(page, speech)
    before = places(page)
    page.click("#generate")
    page.wait_for_selector("#player progress:not(.idle)")
    wait_for_pieces(page)
    assert places(page) == before
    wait_for_video(page)
    page.evaluate("document.querySelector('#player video').play()")
    page.wait_for_function("document.querySelector('#player video').currentTime > 0.2")
    assert page.locator("video").count() == page.locator("#player video").count() == 1
    note = page.inner_text("#player p")
    assert note.startswith("First frame after") and "frames/s" in note
    assert page.locator("#player progress.idle").count() == 1
    page.wait_for_selector("#figures >> text=15 frames")
    take_screenshot(page, "app_speak_made")
    for ending, start in ((".npz", b"PK"), (".gif", b"GIF8"), (".json", b"{")):
        page.wait_for_selector(f"[id='take{ending}']:not([disabled])")
        with page.expect_download() as download:
            page.click(f"[id='take{ending}']")
        assert download.value.suggested_filename.startswith("alba-seed0")
        download.value.save_as(tmp_path / "taken")
        assert (tmp_path / "taken").read_bytes().startswith(start)
    # the clip just made, in the explorer
    page.click("#explore-this")
    inner = page.frame_locator("#explorer-page iframe")
    inner.locator("#figure-0").wait_for()
    assert page.get_by_role("tab", name="Explore").get_attribute("aria-selected") == "true"
    assert inner.locator("#figure-0").inner_text().endswith("%")
    page.wait_for_function("location.hash.startsWith('#iasa?k=4')")
    wait_for_height(page, inner)
    page.locator("#explorer-page iframe").evaluate("(frame) => frame.scrollIntoView({ block: 'end' })")
    page.wait_for_timeout(1000)  # until all of the frame is painted
    take_screenshot(page, "app_explore")
    page.get_by_role("tab", name="Learn").click()
    page.wait_for_selector("text=How it works")
    take_screenshot(page, "app_learn")


def test_comparing_in_the_dark(visit, speech):
    page = visit(color_scheme="dark")
    page.get_by_role("tab", name="Compare").click()
    page.locator("[role=tabpanel]:visible input[type=file]").first.set_input_files(speech)
    page.wait_for_timeout(1500)
    page.locator("[role=tabpanel]:visible input[type=number]").first.fill("0.4")
    page.click("#compare")
    page.wait_for_selector("#compared-table td:has-text('sparse student')")
    page.wait_for_function("document.querySelector('#compared video')?.readyState > 1")
    # the wipe: the teacher left of the line, the sparse student right of it, and the other way round
    colour = "() => [...document.querySelector('.wipe canvas').getContext('2d').getImageData(X, 0, 1, 256).data]"
    line, (left, right) = page.locator(".wipe input"), page.locator(".wipe select").all()
    page.wait_for_function("document.querySelector('.wipe select').options[0]?.text.startsWith('teacher, 8')")
    assert right.locator("option:checked").inner_text() == "sparse student, 1"
    line.fill("100")
    teacher = page.evaluate(colour.replace("X", "60"))
    line.fill("0")
    student = page.evaluate(colour.replace("X", "60"))
    assert len(set(teacher)) > 20 and teacher != student
    left.select_option("2"), right.select_option("0")
    assert page.evaluate(colour.replace("X", "60")) == teacher
    line.fill("50")
    assert page.evaluate(colour.replace("X", "60")) == student
    take_screenshot(page, "app_compare_dark")
    # what the past is for: the frames that hold the badge serve better than the last ones
    page.get_by_role("button", name="What the past is for").click()
    page.click("#remember")
    page.wait_for_selector("#compared-table td:has-text('pose')")
    rows = page.locator("#compared-table tbody tr").all_inner_texts()
    _, (pose, _, good), (last, _, poor) = (row.split("\t") for row in rows)
    assert (pose, last) == ("pose", "last") and float(good) > float(poor) + 0.3
    page.wait_for_function("document.querySelector('.wipe select').options[1]?.text == 'pose, 1'")
    page.get_by_role("button", name="Instead of the three").click()
    page.wait_for_timeout(500)
    for label in page.locator(":is(#memory, #patterns) [data-testid=block-info]:visible").all():
        assert label.bounding_box()["height"] < 30, label.inner_text()  # in a line
    fields = "[...document.querySelectorAll(':is(#memory, #patterns) input')]"
    assert page.evaluate(f"{fields}.filter((field) => field.scrollWidth > field.clientWidth).length") == 0
    take_screenshot(page, "app_compare_memory")


@pytest.mark.parametrize("phase", ["at once", "before the first piece", "while it plays"])
def test_cancelling_and_generating_again(visit, tmp_path, speech, phase):
    """In each phase the run ends without a video, and the next Generate is a run like any other."""
    page = visit()
    give_speech(page, write_speech(tmp_path / "long.wav", 20.0))
    page.click("#generate")
    if phase == "before the first piece":
        page.wait_for_timeout(400)
    elif phase == "while it plays":
        wait_for_pieces(page)
    page.click("#cancel")
    page.wait_for_selector("#player p:has-text('Stopped')")
    page.wait_for_timeout(500)
    assert page.inner_text("#player p") == "Stopped." and page.locator("#player progress.idle").count() == 1
    assert "/file=" not in (page.get_attribute("#player video", "src") or "")
    assert page.locator(".toast-body").count() == 0 and page.locator("#player >> text=Error").count() == 0
    page.locator("input[type=file]").first.set_input_files(speech) if page.locator("input[type=file]").count() else None
    page.click("#generate")
    wait_for_video(page)
    page.wait_for_selector("#figures >> text=frames")


def test_a_link_out_of_the_explorer_opens_it(visit, address):
    page = visit()
    page.goto(f"{address}?__theme=dark#iasa?k=2&v=matrix")
    page.reload()
    inner = page.frame_locator("#explorer-page iframe")
    inner.locator("#strip-hint").wait_for()
    inner.locator("html[data-theme=dark]").wait_for()  # as the page around, whatever the system
    assert page.get_by_role("tab", name="Explore").get_attribute("aria-selected") == "true"
    assert page.evaluate("location.hash").startswith("#iasa?k=2")


def test_errors_are_shown_as_text(visit, tmp_path):
    page = visit()
    page.click("#generate")
    page.wait_for_selector("text=there is no speech")
    name = "<img src=x onerror=window.hacked=1>.npz"
    (tmp_path / name).write_text("no poses")
    page.get_by_role("tab", name="Explore").click()
    page.locator("input[type=file]:visible, [role=tabpanel]:visible input[type=file]").first.set_input_files(
        tmp_path / name
    )
    page.wait_for_timeout(1500)
    page.click("#explore")
    page.wait_for_selector("text=is not a pose file")
    assert page.evaluate("window.hacked") is None
    assert page.locator("img[src=x]").count() == 0


def test_a_video_of_a_person_is_explored(visit, tmp_path):
    """A real photograph, moved about; and a clip that shows nobody, which is answered in words."""
    data = pytest.importorskip("skimage.data", reason="the photograph comes with scikit-image")
    pytest.importorskip("mediapipe", reason="finding a person is optional: pip install mediapipe==0.10.21")
    from iasa.media.writer import write_video

    photograph = data.astronaut()
    write_video(tmp_path / "person.mp4", np.stack([np.roll(photograph, 6 * i, 1) for i in range(8)]))
    write_video(tmp_path / "nobody.mp4", np.full((6, 96, 96, 3), 90, np.uint8))
    for name, answer in (("nobody.mp4", "text=no person is found"), ("person.mp4", "#explorer-page iframe")):
        page = visit()
        page.get_by_role("tab", name="Explore").click()
        page.locator("[role=tabpanel]:visible input[type=file]").first.set_input_files(tmp_path / name)
        page.wait_for_timeout(1500)
        page.click("#explore")
        page.wait_for_selector(answer)
    inner = page.frame_locator("#explorer-page iframe")
    inner.locator("#strip-hint").wait_for()
    assert inner.locator("#strip-hint").inner_text().startswith("4 frames")


def test_speaking_live(browser, address, tmp_path):
    """Chromium hears a file as its microphone; the speaker says it while it is heard."""
    from playwright.sync_api import TimeoutError as Late

    sound = write_speech(tmp_path / "microphone.wav", 4.0)
    fake = (
        "use-fake-ui-for-media-stream",
        "use-fake-device-for-media-stream",
        f"use-file-for-fake-audio-capture={sound}",
    )
    with open_another(browser, *(f"--{flag}" for flag in fake)) as listening:
        page = listening.new_page(permissions=["microphone"])
        page.set_default_timeout(PATIENCE)
        for attempt in range(3):  # on a busy machine the browser may have no microphone yet when Record is pressed
            page.goto(address)
            page.wait_for_selector("#generate")
            page.locator("#live-microphone button").first.click()
            record = page.locator("#live-microphone .mic-wrap .controls button").first
            record.wait_for()
            page.wait_for_timeout(500)  # until the accordion is open
            record.click()  # which scrolls to it
            before = places(page)
            with suppress(*([Late] if attempt < 2 else [])):
                page.wait_for_selector("#player p:has-text('first frame after')", timeout=PATIENCE / 2)
                break
        wait_for_pieces(page)
        now = places(page)
        for part in ("#generate", "#player", "#clip-actions", "#inputs"):
            assert now[part] == before[part], part  # nothing moves when the first picture comes
        assert now["#live-microphone"][:2] == before["#live-microphone"][:2]
        page.wait_for_function("document.querySelector('#player video').currentTime > 0.2")
        take_screenshot(page, "app_live")
        page.locator("#live-microphone .mic-wrap .controls button").first.click()
        note = page.inner_text("#player p")
        page.wait_for_function("document.querySelector('#player video').media.readyState === 'ended'")
        assert "frames/s" in note and page.evaluate("document.querySelector('#player video').error") is None
        assert page.evaluate("document.querySelector('#player video').buffered.end(0)") > 0.9


def test_two_visitors_wait_in_line(visit, tmp_path, speech):
    """The second one is told its place."""
    pages = [visit(), visit(locale="de-DE")]
    give_speech(pages[0], write_speech(tmp_path / "long.wav", 4.0))
    pages[1].locator("input[type=file]").first.set_input_files(speech)
    pages[1].wait_for_selector("text=s Sprache")
    pages[0].click("#generate")
    pages[0].wait_for_selector("#player progress:not(.idle)")
    pages[1].click("#generate")
    pages[1].wait_for_selector("#player p:has-text('Platz 1 von')")
    take_screenshot(pages[1], "app_waiting_in_line")
    assert all(wait_for_video(page) for page in pages)
    pages[0].wait_for_selector("#figures >> text=100 frames")
    pages[1].wait_for_selector("#figures >> text=15 Bilder")


def test_on_a_phone_generate_is_in_reach(visit):
    """On the first screen, and while one scrolls; nothing is wider than the screen, and all tabs are there."""
    page = visit(viewport={"width": 390, "height": 844})
    for scrolled in (0, 400):
        page.evaluate(f"scrollTo(0, {scrolled})")
        page.wait_for_timeout(300)
        box = page.locator("#generate").bounding_box()
        assert 0 <= box["y"] and box["y"] + box["height"] <= 844, (scrolled, box)
        player = page.locator("#player .stage").bounding_box()
        assert scrolled or 0 <= player["y"] and player["y"] + player["height"] <= box["y"], player
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    for name in ("Speak", "Compare", "Explore", "Learn"):
        assert page.get_by_role("tab", name=name).first.is_visible(), name


def edge(page, side: str) -> float:
    """How bright a strip at the side of the table in Learn is, 0 to 255."""
    box = page.locator("#about_measured").bounding_box()
    table = page.locator("#about_measured table").bounding_box()
    x = box["x"] + 2 if side == "left" else box["x"] + box["width"] - 6
    strip = page.screenshot(clip={"x": x, "y": table["y"] + 2, "width": 4, "height": 200})
    return float(np.asarray(Image.open(io.BytesIO(strip)).convert("L")).mean())


def test_a_phone_in_german_in_the_dark(visit):
    page = visit(
        viewport={"width": 390, "height": 844}, locale="de-DE", color_scheme="dark", is_mobile=True, has_touch=True
    )
    page.wait_for_selector("text=Erzeugen")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    for text in ("Sprache hinein", "Wer spricht", "Einstellungen"):
        assert page.locator(f"text={text}").first.is_visible(), text
    assert "Beispielsprecher" in page.inner_text("body")
    take_screenshot(page, "app_phone_german")
    page.click("#generate")
    page.wait_for_selector("text=es fehlt die Sprache")
    open_tab(page, "Lernen")
    page.wait_for_selector("text=Wie es geht")
    take_screenshot(page, "app_phone_learn")
    table = page.locator("#about_measured table")  # wider than the screen: a shadow lies where more of it is hidden
    table.evaluate("(table) => table.scrollIntoView()")
    assert table.evaluate("(table) => table.scrollWidth > table.clientWidth && table.tabIndex == 0")
    left, right = edge(page, "left"), edge(page, "right")
    table.evaluate("(table) => (table.scrollLeft = table.scrollWidth)")
    page.wait_for_timeout(200)
    assert edge(page, "left") > left + 30 and edge(page, "right") < right - 30
    lines = """() => [...document.querySelectorAll("#about_measured td")].map((cell) => {
      const text = document.createRange();
      text.selectNodeContents(cell);
      return [cell.textContent, text.getClientRects().length];
    })"""
    assert not [figure for figure, count in page.evaluate(lines) if "." in figure and count > 1]
    open_tab(page, "Erkunden")
    page.wait_for_selector("#explore")
    for box in page.locator(".block:visible:has(> button.upload-container)").all():
        label, icon = (box.locator(f"[data-testid={part}]").bounding_box() for part in ("block-label", "upload-icon"))
        assert label["y"] + label["height"] <= icon["y"]
    page.click("#explore")
    inner = page.frame_locator("#explorer-page iframe")
    inner.locator("#figure-0").wait_for()
    page.wait_for_function("document.querySelector('#explorer-page').getBoundingClientRect().top < innerHeight / 2")
    inner.locator("#strip-hint", has_text="Patches").wait_for()
    wait_for_height(page, inner)
    page.locator("#explorer-page iframe").evaluate("(frame) => (frame.scrollIntoView(), frame.style.height = '1500px')")
    wide = "(tiles) => tiles.filter((tile) => tile.scrollWidth > tile.clientWidth).map((tile) => tile.textContent)"
    assert inner.locator(".tile .big").evaluate_all(wide) == []
    wait_for_height(page, inner)  # also where the page around has drawn its frame anew
    assert page.locator("#explorer-page iframe").bounding_box()["width"] > 300
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert "__i18n__" not in page.inner_text("body")
    take_screenshot(page, "app_phone_explore")


def test_what_was_made_before_plays_at_once(visit):
    """One click; a second one makes it anew."""
    results = sorted((EXAMPLES / "results").glob("*.mp4"))
    assert results, "examples/results holds no video: PYTHONPATH=. python examples/make_results.py"
    for path in results:
        frames, fps = read_video(path)
        side, most = (256, 400_000) if path.stem.split("_")[0] in speaker_names() else (512, 1_500_000)
        assert fps == 25 and frames.shape[1:] == (side, side, 3) and path.stat().st_size < most
    page = visit()
    for number, path in enumerate(results):
        page.locator("#stored button").nth(number).click()
        page.wait_for_function(f"document.querySelector('#player video').src.endsWith('{path.name}')")
        page.wait_for_function("document.querySelector('#player video').currentTime > 0.2")
    people = [number for number, path in enumerate(results) if path.stem.split("_")[0] not in speaker_names()]
    page.locator("#stored button").nth(people[0]).click()  # a rendered person, who need not be asked
    page.wait_for_selector("#photo img")
    drawn = next(number for number in range(len(results)) if number not in people)
    page.locator("#stored button").nth(drawn).click()
    speaker = results[drawn].stem.split("_")[0]
    page.wait_for_selector(f"#inputs label.selected:has-text('{speaker}')")
    page.wait_for_selector("text=s of speech")


def test_what_is_behind_a_photographs_person_is_asked_where_one_is_used(visit):
    page = visit()
    assert page.locator("#backdrop").count() == 0
    for kind, asked in (("My photo", 1), ("Puppet of my photo", 0)):
        page.get_by_label(kind, exact=True).click()
        page.wait_for_selector("#consent")
        page.wait_for_timeout(500)
        assert page.locator("#backdrop:visible").count() == asked, kind
    page.get_by_label("My photo", exact=True).click()
    page.get_by_label("A color").click()
    page.wait_for_selector("text=Color >> visible=true")
    page.locator("#people button").first.click()  # a rendered person: the picture is there, and nobody has to agree
    page.wait_for_selector("#photo img")
    page.wait_for_selector("#consent", state="hidden")
    take_screenshot(page, "app_photo")


def test_the_language_is_chosen_in_the_page(visit, tmp_path):
    """Over the browser's own, in labels as in what the server says, and in what gradio says of files that it does not send;
    the address keeps it, and the rest of the address."""
    page = visit(locale="de-DE")
    page.wait_for_selector("text=Erzeugen")
    assert page.inner_text("#language [aria-current]") == "Deutsch"
    page.evaluate("history.replaceState(null, '', '?x=1#here')")
    page.click("#language a[lang=en]")
    page.wait_for_selector("text=Speech in, talking speaker out")
    assert page.evaluate("location.search + location.hash") == "?x=1&lang=en#here"
    for _ in range(2):
        page.wait_for_selector("#generate >> text=Generate")
        assert page.inner_text("#language [aria-current]") == "English" and "Erzeugen" not in page.inner_text("body")
        assert page.evaluate("document.documentElement.lang") == "en"
        page.click("#generate")
        page.wait_for_selector("#player p:has-text('There is no speech')")
        page.reload()
    page.goto(page.url.replace("lang=en", "__lang=en"))  # as gradio calls it
    page.wait_for_selector("#generate >> text=Generate")
    page.click("#language a[lang=de]")
    page.wait_for_selector("#generate >> text=Erzeugen")
    assert page.evaluate("location.search") == "?x=1&lang=de", "one name is left"
    page.click("#generate")
    page.wait_for_selector("#player p:has-text('Es fehlt die Sprache')")
    page.locator(".toast-close").first.click()
    (tmp_path / "notes.txt").write_text("no sound")
    with (tmp_path / "large.wav").open("wb") as large:
        large.truncate(51 << 20)
    for name, said in (
        ("notes.txt", "notes.txt geht hier nicht; erlaubt sind Tondateien wie mp3, wav, m4a oder flac"),
        ("large.wav", "large.wav ist zu groß; erlaubt sind höchstens 50 MB"),
    ):
        page.locator("#speech input[type=file]").first.set_input_files(tmp_path / name)
        toast = page.locator(".toast-body", has_text=said)
        toast.wait_for()
        assert toast.locator(".toast-title").inner_text().strip() == "Fehler" and "audio/" not in toast.inner_text()
        toast.locator(".toast-close").click()


def test_a_photograph_is_framed_looked_at_and_made_to_speak(visit, tmp_path, speech):
    """From an upload to a video: what will move is shown, the handles choose a part, and another picture starts anew."""
    data = pytest.importorskip("skimage.data", reason="the photograph comes with scikit-image")
    pytest.importorskip("mediapipe", reason="finding a person is optional: pip install mediapipe==0.10.21")

    Image.fromarray(data.astronaut()).save(tmp_path / "astronaut.png")
    page = visit()
    give_speech(page, speech)
    page.get_by_label("My photo", exact=True).click()
    upload = page.locator("input[type=file][accept*='image']").first
    upload.set_input_files(tmp_path / "astronaut.png")
    page.wait_for_selector("#said li:has-text('Head, face and shoulders move')")
    page.wait_for_selector("#said li:has-text('No hands were found')")
    page.wait_for_function("document.querySelector('#player img').src.endsWith('still.jpg')")  # on the first screen
    seen = page.get_attribute("#seen img", "src")
    handle, frame = page.locator("#crop i[data-at='2 3']"), page.locator("#crop .frame")
    handle.scroll_into_view_if_needed()
    at, area = handle.bounding_box(), frame.bounding_box()
    page.mouse.move(at["x"] + at["width"] - 4, at["y"] + at["height"] - 4)
    page.mouse.down()
    page.mouse.move(area["x"] + 0.8 * area["width"], area["y"] + 0.7 * area["height"], steps=3)
    page.mouse.up()
    page.wait_for_function("(old) => document.querySelector('#seen img').getAttribute('src') !== old", arg=seen)
    box = page.locator("#crop .box").bounding_box()
    assert abs(box["width"] / area["width"] - 0.8) < 0.02 and abs(box["height"] / area["height"] - 0.7) < 0.02
    take_screenshot(page, "app_photo")
    page.keyboard.press("ArrowRight")
    page.click("#consent input")
    page.click("#generate")
    wait_for_video(page)
    with page.expect_download() as download:
        page.click("[id='take.json']")
    download.value.save_as(tmp_path / "settings.json")
    left, top, right, bottom = json.loads((tmp_path / "settings.json").read_text())["crop"]
    assert (left, top) == (0.02, 0) and abs(right - 0.82) < 0.02 and abs(bottom - 0.7) < 0.02
    page.get_by_label("Drawn from a number", exact=True).click()
    page.wait_for_selector("#portrait img")
    before, portrait = page.input_value("#drawn input"), page.get_attribute("#portrait img", "src")
    page.click("#die")
    page.wait_for_function("(old) => document.querySelector('#portrait img').getAttribute('src') !== old", arg=portrait)
    assert page.input_value("#drawn input") != before

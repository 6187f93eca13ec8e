"""What a person would see of a page, in headless Chromium."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tests.conftest import needs

needs_chromium = needs("chromium")
WIDTHS = (1280, 390)
Scheme = Literal["light", "dark"]

# Texts that a person can hardly read: contrast with what lies behind below 4.5 (WCAG 2.2, 1.4.3; 3 where it is large).
_FAINT_TEXTS = """() => {
  const channels = text => (text.match(/[\\d.]+/g) || []).map(Number);
  const over = (top, below) => { const a = top[3] ?? 1; return [0, 1, 2].map(i => top[i] * a + below[i] * (1 - a)); };
  const light = rgb => {
    const [r, g, b] = rgb.map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = element => {
    const layers = [];
    for (let e = element; e; e = e.parentElement) layers.push(channels(getComputedStyle(e).backgroundColor));
    return layers.reverse().reduce((below, top) => over(top, below), [255, 255, 255]);
  };
  const found = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
    if (!own || !element.checkVisibility() || !element.getClientRects().length) continue;
    const style = getComputedStyle(element), isSvg = element instanceof SVGElement;
    const back = behind(element), ink = over(channels(isSvg ? style.fill : style.color), back);
    const [low, high] = [light(ink), light(back)].sort((a, b) => a - b);
    const size = parseFloat(style.fontSize), large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
    const ratio = (high + 0.05) / (low + 0.05);
    if (ratio < (large ? 3 : 4.5)) found.push(`${ratio.toFixed(2)} ${element.textContent.trim().slice(0, 40)}`);
  }
  return found;
}"""


@dataclass
class Seen:
    """A page that is open; `complaints` are what the browser's console and network said."""

    page: Any
    complaints: list[str]

    def text(self, selector: str = "body") -> str:
        """What is visible of an element."""
        return self.page.inner_text(selector)

    def charts(self) -> dict[str, list[str]]:
        """The texts of each chart that is visible, by its name."""
        return self.page.evaluate(
            """() => Object.fromEntries([...document.querySelectorAll("svg[role=img]")]
              .filter(svg => svg.getClientRects().length)
              .map(svg => [svg.ariaLabel, [...svg.querySelectorAll("text")].map(text => text.textContent)]))"""
        )

    def problems(self) -> list[str]:
        """What keeps a person from reading it: complaints, a page wider than the window, faint texts, mute pictures."""
        is_wide = self.page.evaluate("document.documentElement.scrollWidth > innerWidth")
        mute = self.page.locator("svg[role=img]:not([aria-label])").count()
        faint = [f"faint: {text}" for text in self.page.evaluate(_FAINT_TEXTS)]
        return [*self.complaints, *["it scrolls sideways"] * is_wide, *faint, *["a picture has no name"] * mute]


class Browser:
    """Chromium, for as long as tests need it."""

    def __init__(self, chromium: Any) -> None:
        self._chromium = chromium

    @contextlib.contextmanager
    def see(self, path: Path, width: int = 1280, scheme: Scheme = "light") -> Iterator[Seen]:
        """The page in the file `path`, in a window of `width` pixels."""
        context = self._chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        page, complaints = context.new_page(), []
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: complaints.append(request.url) if request.url != path.as_uri() else None)
        page.goto(path.as_uri())
        try:
            yield Seen(page, complaints)
        finally:
            context.close()


@contextlib.contextmanager
def open_browser() -> Iterator[Browser]:
    """Chromium without a window."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # Root has no sandbox in containers; the pages are our own.
        chromium = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        yield Browser(chromium)
        chromium.close()

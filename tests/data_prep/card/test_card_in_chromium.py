"""The data card as a person sees it."""

from pathlib import Path

from tests.browser import needs_chromium, open_browser


@needs_chromium
def test_the_card_reads_well_light_and_dark_wide_and_narrow(dataset: Path) -> None:
    with open_browser() as browser:
        for width, scheme in ((1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")):
            with browser.see(dataset / "card.html", width, scheme) as seen:
                assert seen.problems() == []
                assert "What each stage dropped" in seen.text("#flow")

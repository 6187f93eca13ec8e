"""Charts take the page's colours, keep text as text, and are the same every time."""

import math
import re
from xml.etree import ElementTree

from data_prep.pages.charts import Frame, Line, line_chart

FRAME = Frame("loss", "Loss <by> step", "step", marks=(50.0,))
LINES = [Line([0, 50, 100], [3.0, 2.0, math.nan]), Line([0, 100], [2.5, 1.5], colour=8, kind="points")]


def test_a_chart_has_no_colour_of_its_own_and_its_texts_are_texts() -> None:
    svg = str(line_chart(LINES, FRAME))
    root = ElementTree.fromstring(svg)
    assert root.get("aria-label") == "Loss <by> step"
    texts = [element.text for element in root.iter("text")]
    assert {"step", "0", "100"} <= set(texts)
    assert re.findall(r"#[0-9a-f]{3,8}\b", re.sub(r"href=\"#\w+\"|url\(#\w+\)", "", svg)) == []
    assert {"var(--series0)", "var(--series1)", "var(--soft)"} <= set(re.findall(r"var\(--\w+\)", svg))


def test_equal_figures_give_equal_bytes_and_names_are_those_of_one_chart() -> None:
    first, again = line_chart(LINES, FRAME), line_chart(LINES, FRAME)
    other = line_chart(LINES, Frame("other", "Other", "step"))
    assert first == again
    assert not set(re.findall(r'id="(\w+)"', first)) & set(re.findall(r'id="(\w+)"', other))


def test_numbers_are_short_and_shares_are_per_cent_from_zero_on() -> None:
    many = line_chart([Line([0, 2e6], [14_900.0, 15_100.0])], Frame("a", "A", "tokens", scale="zero"))
    texts = [element.text for element in ElementTree.fromstring(many).iter("text")]
    assert {"0", "4,000", "12 k", "2 M"} <= set(texts)
    share = line_chart([Line([0, 1], [0.1488, 0.1489])], Frame("b", "B", "step", scale="share"))
    texts = [element.text for element in ElementTree.fromstring(share).iter("text")]
    assert "0.0%" in texts or "0%" in texts

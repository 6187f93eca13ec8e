import threading

from data_prep.progress import Counts, PlainProgress


def test_a_stage_is_told_in_one_line_with_what_it_counted() -> None:
    lines: list[str] = []
    progress = PlainProgress(lines.append)
    for counted in ((192, 1, 16, 0), (2_000_000, 3000, 0, 2), (0, 0, 0, 0)):
        progress.start("read", 0)
        progress.advance(*counted)
        progress.finish()
    assert lines == [
        "read: 192 bytes, 1 document, 16 tokens in 0.0 s",
        "read: 2.0 MB, 3,000 documents, 2 errors in 0.0 s",
        "read: 0.0 s",
    ]


def test_a_long_stage_tells_how_far_it_is_and_what_is_left() -> None:
    lines: list[str] = []
    now = 100.0
    progress = PlainProgress(lines.append, clock=lambda: now)
    progress.start("tokenize", 30_000_000)
    now = 104.0
    progress.advance(10_000_000, 1000, 2_000_000, 3)
    progress.tell()
    progress.finish()
    progress.start("train tokenizer", 0)
    now = 119.0
    progress.tell()
    progress.close()
    assert lines == [
        "tokenize: 4 s so far (33% of 30.0 MB; 10.0 MB, 1,000 documents, 2,000,000 tokens, 3 errors; 2.5 MB/s, "
        "250 documents/s, 500,000 tokens/s; about 8 s left)",
        "tokenize: 10.0 MB, 1,000 documents, 2,000,000 tokens, 3 errors in 4.0 s",
        "train tokenizer: 15 s so far",
    ]


def test_a_stage_that_takes_long_speaks_by_itself_and_only_until_it_ends() -> None:
    spoken, lines = threading.Event(), list[str]()

    def write(line: str) -> None:
        lines.append(line)
        spoken.set()

    progress = PlainProgress(write, first_word=0.01)
    progress.start("train tokenizer", 0)
    assert spoken.wait(300)
    progress.finish()
    told = len(lines)
    progress.note("done")
    assert lines[told - 1].endswith(" s")
    assert lines[told:] == ["done"]
    assert "so far" in lines[0]


def test_the_rest_cannot_be_told_before_anything_is_done() -> None:
    assert Counts("read", 100).left() is None
    assert Counts("read", 0, bytes=5, seconds=1).left() is None
    assert Counts("read", 100, bytes=25, seconds=2).left() == 6

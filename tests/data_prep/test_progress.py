from data_prep.progress import PlainProgress


def test_a_stage_is_told_in_one_line_with_what_it_counted() -> None:
    lines: list[str] = []
    progress = PlainProgress(lines.append)
    for counted in ((192, 1, 16), (2_000_000, 3000, 0), (0, 0, 0)):
        progress.start("scan", 0)
        progress.advance(*counted)
        progress.finish()
    assert lines == [
        "scan: 192 bytes, 1 document, 16 tokens in 0.0 s",
        "scan: 2.0 MB, 3,000 documents in 0.0 s",
        "scan: 0.0 s",
    ]

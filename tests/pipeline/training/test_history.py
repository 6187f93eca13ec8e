from pipeline.training.reports.history import HISTORY, History, read_history


def test_events_stay_in_order_and_a_torn_line_is_left_out(tmp_path):
    history = History(tmp_path / "train")
    history.add("start", 0, environment={"world_size": 2})
    with open(tmp_path / "train" / HISTORY, "a", encoding="utf-8") as file:
        file.write('{"time": "2026-11-26T07:00:00+00:00", "ev\n')  # the disk lost its end
    history.add("done", 12)
    assert [(event["event"], event["step"]) for event in read_history(tmp_path / "train")] == [
        ("start", 0),
        ("done", 12),
    ]


def test_other_ranks_tell_nothing(tmp_path):
    History(None).add("start", 0)
    assert list(tmp_path.iterdir()) == []
    assert read_history(tmp_path) == []

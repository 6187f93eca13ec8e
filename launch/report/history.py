"""What happened to a run: starts, restarts, rollbacks, checkpoints, and the environment of each start."""

from typing import Any

from launch.report.run import Run

Row = tuple[str, ...]


def restart_steps(run: Run) -> list[int]:
    """The steps from which training went on, after a stop, a kill or a rollback; of an older run, from attempts."""
    return [event["step"] for event in run.history if event["event"] in ("start", "rollback") and event["step"]]


def event_rows(run: Run) -> list[Row]:
    """Time, what, step and details of each event; checkpoints have a table of their own."""
    rows: list[Row] = []
    alive = False
    for event in run.history:
        if event["event"] == "saved":
            continue
        what, details = _described(event, alive)
        alive = event["event"] in ("start", "rollback", "trouble")
        rows.append((_time(event["time"]), what, "" if event["step"] is None else f"{event['step']:,}", details))
    return rows


def _described(event: dict[str, Any], alive: bool) -> tuple[str, str]:
    kind = event["event"]
    if kind == "start":
        ranks = event["environment"].get("world_size", "?")
        where = f"{ranks} rank{'' if ranks == 1 else 's'}, rank 0 on {event.get('host', '?')}"
        died = "the process before died without a word (killed?)" if alive else ""
        changed = "changed since: " + "; ".join(event["changes"]) if event.get("changes") else ""
        name = "went on" if event["step"] else "started"
        return name, ". ".join(part for part in (where, died, changed) if part)
    if kind == "rollback":
        start, stop = event["skipped"]
        return "rolled back", f"{event['reason']}; samples {start:,} to {stop - 1:,} left out"
    if kind == "trouble":
        start, stop = event["samples"]
        update = "no update" if event["action"] == "skip" else "noted"
        return "stood out", f"{event['reason']}; samples {start:,} to {stop - 1:,}; {update}"
    if kind == "stopped":
        return "stopped, saved", f"asked by {event.get('asked_by', '?')}"
    return {"failed": "failed", "done": "done"}.get(kind, kind), event.get("reason", "")


def attempt_rows(run: Run) -> list[Row]:
    """The supervised attempts: number, begin, end, hosts, ranks, how it ended; each line of attempts.jsonl is half."""
    ends = {line["attempt"]: line for line in run.attempts if "outcome" in line}
    rows: list[Row] = []
    for line in run.attempts:
        if "started" in line:
            end = ends.get(line["attempt"], {})
            outcome = " ".join(part for part in (end.get("outcome", "no end recorded"), end.get("reason")) if part)
            hosts = ", ".join(line["hosts"])
            begin, over = _time(line["started"]), _time(end.get("ended", ""))
            rows.append((str(line["attempt"]), begin, over, hosts, str(line["world_size"]), outcome))
    return rows


def checkpoint_rows(run: Run) -> list[Row]:
    """Step, when, loss, held-out loss, seconds, seconds that training waited; the newest last."""
    saves = {event["step"]: event for event in run.history if event["event"] == "saved"}
    rows: list[Row] = []
    for step, record in run.checkpoints.items():
        save = saves.get(step, {})
        loss = f"{float.fromhex(record.last_loss):.4f}" if record and record.last_loss else "-"
        heldout = f"{record.heldout['newest']:.4f}" if record and "newest" in record.heldout else "-"
        when = _time(record.saved_at or "") if record else "its record cannot be read"
        took = f"{save['seconds']:.2f} s" if save else "-"
        waited = f"{save['stall_seconds']:.2f} s" if save else "-"
        rows.append((f"{step:,}", when, loss, heldout, took, waited))
    return rows


def environment_rows(run: Run) -> tuple[list[str], list[Row]]:
    """The starts (their steps), and a row for each fact of their environments."""
    starts = [event for event in run.history if event["event"] == "start"]
    names = list(dict.fromkeys(name for start in starts for name in start["environment"]))
    heads = [f"start at step {start['step']:,}" for start in starts]
    rows: list[Row] = [
        (name.replace("_", " "), *(str(start["environment"].get(name, "-")) for start in starts)) for name in names
    ]
    return heads, rows


def _time(stamp: str) -> str:
    """`2026-11-26 07:41:16` of a time in ISO 8601, without its zone."""
    return stamp[:19].replace("T", " ")

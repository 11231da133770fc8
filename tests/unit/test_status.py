"""The summary line says what was done since the last one."""

from connector.operations.status import Totals, summary


def totals(consumed: int, delivered: int, lag: int | None = 5) -> Totals:
    return {
        "consumed": consumed,
        "unrouted": 1,
        "delivered": delivered,
        "dead_lettered": 2,
        "skipped": 3,
        "dry_run": 0,
        "retried": 4,
        "open_records": 6,
        "open_bytes": 700,
        "lag": lag,
        "oldest_unsettled_age_s": 1.23456,
    }


def test_the_summary_counts_from_the_last_one_and_tells_what_is_open_now() -> None:
    assert summary(totals(100, 90), totals(400, 240), 30.0) == {
        "consumed": 300,
        "consumed_per_s": 10.0,
        "delivered": 150,
        "delivered_per_s": 5.0,
        "dead_lettered": 0,
        "skipped": 0,
        "dry_run": 0,
        "unrouted": 0,
        "retried": 0,
        "open_records": 6,
        "open_bytes": 700,
        "lag": 5,
        "oldest_unsettled_age_s": 1.235,
    }


def test_an_unknown_lag_stays_unknown() -> None:
    assert summary(totals(0, 0), totals(1, 1, None), 30.0)["lag"] is None


def test_no_time_at_all_makes_no_rate() -> None:
    assert summary(totals(0, 0), totals(1, 1), 0.0)["consumed_per_s"] == 0.0


def test_counts_of_a_daemon_that_began_anew_are_not_negative() -> None:
    assert summary(totals(100, 90), totals(7, 4), 30.0)["consumed"] == 7

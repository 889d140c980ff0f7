"""Reports of guests' cloud-init: which fields are kept, and what no report can cause."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from eve_meta.values.domain import TokenPolicy
from eve_meta.web.tally import MAX_BYTES, MAX_TAP_BYTES, GuestReports
from eve_meta.wire.boot_reports import (
    MAX_DESCRIPTION,
    MAX_FIELD,
    MAX_NAME,
    MAX_REPORT,
    BootReport,
    Result,
    What,
    read_phone_home,
    read_report,
)
from tests.unit.web.asking import UNKNOWN, known, reply_to
from tests.unit.web.guest import Guest, make_answering

REPORT = "/eve-meta/v1/report"
PHONE_HOME = "/eve-meta/v1/phone-home"
GOOD = {"name": "init-network", "description": "d", "event_type": "finish", "origin": "cloudinit", "timestamp": 1.5}


def report_body(**changed: Any) -> bytes:
    """Return the body of a good report, but for what is *changed*."""
    return json.dumps({**GOOD, **changed}).encode()


def test_a_report_of_cloud_init_is_read() -> None:
    assert read_report(report_body(result="WARN"), 5.0) == BootReport(
        at=5.0, what=What.FINISH, name="init-network", description="d", result=Result.WARN
    )
    assert read_report(report_body(event_type="start"), 5.0).result is None


def test_a_phone_home_of_cloud_init_is_read() -> None:
    report = read_phone_home(b"pub_key_rsa=ssh-rsa+AAAA%2B%3D+root%40vm%0A&hostname=vm&other=x", 5.0)
    assert report.fields == {"pub_key_rsa": "ssh-rsa AAAA+= root@vm", "hostname": "vm"}


def test_escape_sequences_are_replaced_and_long_texts_cut() -> None:
    report = read_report(report_body(name="\x1b[2J" + "n" * 500, description="\u202e\ud800ä\n" + "d" * 500), 5.0)
    assert report.name == "?[2J" + "n" * (MAX_NAME - 4)
    assert report.description == "????" + "d" * (MAX_DESCRIPTION - 4)
    assert read_phone_home(b"fqdn=%1b%00" + b"x" * 5000, 5.0).fields == {"fqdn": "??" + "x" * (MAX_FIELD - 2)}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"\xff",
        b"[" * MAX_REPORT,
        b"1" * MAX_REPORT,
        report_body(event_type="phone-home"),
        report_body(event_type=["start"]),
        report_body(event_type=None),
        report_body(name=""),
        report_body(name=7),
        report_body(result="GREAT"),
        report_body(result={}),
    ],
)
def test_a_body_that_is_no_report_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError):
        read_report(body, 5.0)


@pytest.mark.parametrize("body", [b"", b"\xff", b"x=y", b"&" * 100, b"fqdn=x&" * 100])
def test_a_body_that_is_no_form_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError):
        read_phone_home(body, 5.0)


@given(st.binary(max_size=300) | st.builds(json.dumps, st.recursive(st.none() | st.text(), st.lists)).map(str.encode))
def test_bytes_are_read_or_raise_a_value_error(body: bytes) -> None:
    for read in (read_report, read_phone_home):
        with contextlib.suppress(ValueError):
            assert isinstance(read(body, 5.0), BootReport)


@pytest.mark.parametrize(
    "wrong",
    [
        {"at": float("nan")},
        {"name": "\x1b[2J"},
        {"name": "n" * (MAX_NAME + 1)},
        {"description": "ä"},
        {"fields": {"else": "x"}},
        {"fields": {"fqdn": "x" * (MAX_FIELD + 1)}},
    ],
)
def test_a_compromised_worker_cannot_send_other_values(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected"):
        BootReport(**{"at": 5.0, "what": What.START, "name": "n", **wrong})


# -- over HTTP --


def post(path: str, body: bytes, *, method: str = "POST", entry: Any = None) -> Any:
    request = (
        f"{method} {path} HTTP/1.1\r\nHost: 169.254.169.254\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    )
    return reply_to(known() if entry is None else entry, request).response


def test_reports_are_posted_to_their_paths() -> None:
    assert post(REPORT, report_body()).what is What.FINISH
    assert post(PHONE_HOME, b"hostname=vm").what is What.PHONE_HOME
    assert post(REPORT, b"hostname=vm").status == 400
    assert post(PHONE_HOME, report_body()).status == 400
    assert post(REPORT, report_body(x="x" * MAX_REPORT)).status == 413
    for path in ("/eve-meta", "/eve-meta/v1", "/eve-meta/v1/report/x", "/eve-meta/v2/report", "/eve-meta/v1/else"):
        assert post(path, report_body()).status == 404
    for method in ("GET", "HEAD", "PUT", "DELETE"):
        refused = post(REPORT, b"", method=method)
        assert (refused.status, refused.extra) == (405, "Allow: POST\r\n")


def test_a_guest_that_needs_a_token_needs_one_for_reports_too() -> None:
    assert post(REPORT, report_body(), entry=known(tokens=TokenPolicy.REQUIRED)).status == 401


def test_a_guest_whose_domain_is_unknown_cannot_report() -> None:
    assert post(REPORT, report_body(), entry=UNKNOWN).status == 404


def test_a_guest_that_reports_without_end_is_refused_and_takes_nothing_from_others() -> None:
    began: list[None] = []
    reports = GuestReports(lambda: began.append(None))
    one = BootReport(at=5.0, what=What.START, name="n")
    taken = sum(reports.add(1, 0, one) for _ in range(1000))
    assert taken == MAX_TAP_BYTES // one.cost
    assert reports.add(2, 0, one)
    many = sum(reports.add(tag, 0, one) for tag in range(3, 5000))
    assert (taken + 1 + many) * one.cost <= MAX_BYTES
    assert len(began) == 1
    assert len(reports.take()) == taken + 1 + many
    assert reports.take() == []
    assert reports.add(1, 0, one)


def test_a_worker_keeps_posted_reports_for_the_supervisor() -> None:
    answering = make_answering(Clock())
    answering.requests.begin(7, 3)
    guest = Guest(answering)
    body = report_body()
    head = f"POST {REPORT} HTTP/1.1\r\nHost: 169.254.169.254\r\nContent-Length: {len(body)}\r\n\r\n"
    guest.send(head.encode() + body)
    assert guest.answers[0].status == 204
    (kept,) = answering.guests.tally.reports.take()
    assert (kept.generation, kept.report.name) == (answering.requests.generation(kept.tag), "init-network")

"""Messages between supervisor and worker, and what a compromised worker may send."""

from __future__ import annotations

import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.testing import StringTransport

from eve_meta.values.domain import TokenPolicy
from eve_meta.values.eve_node import Node
from eve_meta.wire.boot_reports import BootReport, Result, TaggedReport, What
from eve_meta.wire.channel import MAX_TO_SUPERVISOR, Channel
from eve_meta.wire.messages import (
    Begin,
    BootReports,
    Counts,
    CountsRequest,
    Drain,
    Drained,
    LatencyRows,
    PasswordDone,
    Ping,
    Pong,
    PutNode,
    PutTap,
    RemoveTap,
    RequestRows,
    SetPassword,
    TableCurrent,
    ToSupervisor,
    ToWorker,
)
from eve_meta.wire.password import Outcome


class End:
    """One end of a channel, and the messages that it received."""

    def __init__(self, max_length: int = MAX_TO_SUPERVISOR) -> None:
        self.received: list[tuple[ToWorker | ToSupervisor, bytes]] = []
        self.closed = 0
        self.channel = Channel(self._received, self._close, max_length)
        self.transport = StringTransport()
        self.channel.makeConnection(self.transport)

    def feed(self, data: bytes) -> None:
        self.channel.dataReceived(data)

    def _received(self, message: ToWorker | ToSupervisor, payload: bytes) -> None:
        self.received.append((message, payload))

    def _close(self) -> None:
        self.closed += 1


FINISHED = BootReport(at=5.5, what=What.FINISH, name="init", description="d", result=Result.WARN)
PHONE_HOME = BootReport(at=5.0, what=What.PHONE_HOME, fields={"fqdn": "vm.example.org"})

MESSAGES: list[ToWorker | ToSupervisor] = [
    PutTap(tag=7, tap="vnet0", since=12.5),
    PutTap(tag=7, tap="vnet0", since=1.0, tokens=TokenPolicy.REQUIRED, token_key=b"\0\n\xff", password="a\nb"),
    RemoveTap(tag=7),
    PutNode(node=Node(location=b'{"a":"\\n"}', wwan_metrics=b"{}")),
    TableCurrent(at=12.5),
    Ping(number=3),
    Pong(number=3),
    Begin(),
    Drain(),
    Drained(),
    CountsRequest(number=3),
    Counts(counts={"7": {"no_token": 3, "malformed": 1}, "0": {"timeout": 1}}, number=3),
    RequestRows(),
    LatencyRows(),
    BootReports(reports=(TaggedReport(7, 1, FINISHED), TaggedReport(8, 0, PHONE_HOME))),
    SetPassword(tag=7),
    *(PasswordDone(tag=7, outcome=outcome) for outcome in Outcome),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
@pytest.mark.parametrize("payload", [b"", b"{}", b"line\nline\n\x00\xff"], ids=["none", "json", "binary"])
def test_a_message_that_is_sent_is_received_unchanged(message: ToWorker | ToSupervisor, payload: bytes) -> None:
    sender, receiver = End(), End()
    sender.channel.send(message, payload)
    for byte in sender.transport.value():
        receiver.feed(bytes([byte]))
    assert receiver.received == [(message, payload)]
    assert not receiver.transport.disconnecting


@given(st.lists(st.binary(max_size=20), max_size=5), st.lists(st.integers(0, 400), max_size=10))
def test_frames_are_the_same_however_they_are_cut_into_pieces(payloads: list[bytes], cuts: list[int]) -> None:
    sender, receiver = End(), End()
    for payload in payloads:
        sender.channel.send(RequestRows(), payload)
    sent = sender.transport.value()
    ends = sorted({*(cut for cut in cuts if cut < len(sent)), len(sent)})
    for begin, end in zip([0, *ends], ends, strict=False):
        receiver.feed(sent[begin:end])
    assert receiver.received == [(RequestRows(), payload) for payload in payloads]


def test_nothing_is_read_of_what_follows_a_frame_that_ended_the_channel() -> None:
    end = End()
    end.feed(frame(b"null\n") + frame(b'{"message": "Drained"}\n'))
    assert end.received == []


def frame(content: bytes) -> bytes:
    return struct.pack("!I", len(content)) + content


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"null\n",
        b"[]\n",
        b"{}\n",
        b'{"message": "Shutdown"}\n',
        b'{"message": null}\n',
        b'{"message": "CountsRequest"}\n',
        b'{"message": "CountsRequest", "number": "1"}\n',
        b'{"message": "CountsRequest", "number": true}\n',
        b'{"message": "CountsRequest", "number": 1, "more": 2}\n',
        b'{"message": "Counts", "counts": {"7": 3}}\n',
        b'{"message": "Counts", "counts": {"7": {"200": "many"}}}\n',
        b'{"message": "Counts", "counts": [["7", {}]]}\n',
        b'{"message": "RequestRows", "rows": []}\n',
        b'{"message": "SetPassword", "tag": "7"}\n',
        b'{"message": "PasswordDone", "tag": 7, "outcome": "perhaps"}\n',
        b'{"message": ["CountsRequest"], "number": 1}\n',
        b"[" * 100000 + b"\n",
        b"\xff\xfe\n",
    ],
    ids=repr,
)
def test_a_worker_that_sends_no_known_message_is_cut_off(content: bytes) -> None:
    end = End()
    end.feed(frame(content))
    assert end.received == []
    assert end.transport.disconnecting


def test_a_worker_that_announces_a_frame_too_large_is_cut_off_before_it_is_read() -> None:
    end = End()
    end.feed(struct.pack("!I", MAX_TO_SUPERVISOR + 1))
    assert end.transport.disconnecting


@given(st.binary(max_size=200))
def test_no_bytes_raise_an_exception(data: bytes) -> None:
    end = End()
    end.feed(frame(data))
    assert end.received == []
    assert end.transport.disconnecting


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5), st.lists, max_leaves=5))
def test_no_json_raises_an_exception(value: object) -> None:
    for content in (
        json.dumps(value),
        json.dumps({"message": value}),
        json.dumps({"message": "Counts", "counts": value}),
    ):
        end = End()
        end.feed(frame(content.encode() + b"\n"))
        assert end.received == []
        assert end.transport.disconnecting


def test_secrets_are_not_in_the_repr_of_a_message() -> None:
    message = PutTap(tag=7, tap="vnet0", since=1.0, token_key=b"key", password="secret")
    assert "secret" not in repr(message)
    assert "b'key'" not in repr(message)


def test_closed_is_called_once_when_the_other_end_goes() -> None:
    end = End()
    end.channel.connectionLost()
    assert end.closed == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"what": "\x1b[2J"},
        {"result": "GREAT"},
        {"at": "soon"},
        {"name": "\x1b[2J"},
        {"fields": {"x": "y"}},
        {"else": 1},
    ],
)
def test_a_report_that_no_sound_worker_sends_ends_the_channel(wrong: dict[str, object]) -> None:
    report = {"at": 5.0, "what": "start", "name": "n", **wrong}
    plain = {"message": "BootReports", "reports": [{"tag": 1, "generation": 0, "report": report}]}
    frame = json.dumps(plain).encode() + b"\n"
    receiver = End()
    receiver.feed(struct.pack("!I", len(frame)) + frame)
    assert (receiver.received, receiver.transport.disconnecting) == ([], True)

"""One client connection of the APNs stand-in."""

import asyncio
from typing import TYPE_CHECKING, Any, Final, cast

import h2.connection
import h2.events
import orjson
from h2.config import H2Configuration
from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings
from hpack import Encoder
from hyperframe.frame import GoAwayFrame

from engine import clock
from engine.standins.rules import Action, Rule

if TYPE_CHECKING:
    from engine.standins.apns import ApnsStandin

PAYLOAD_MAX_BYTES: Final = 4_096
SPLIT_S: Final = 0.002
_PATH_PREFIX: Final = "/3/device/"


class _ServerH2(h2.connection.H2Connection):
    """h2 counts open streams by walking them all on each request; the stand-in counts itself, so
    that it can refuse one stream (REFUSED_STREAM) where h2 would end the connection."""

    @property
    def open_inbound_streams(self) -> int:
        return 0

    def forget(self, stream_id: int) -> None:
        """Drop a finished stream, remembering how it ended (late frames depend on it)."""
        stream = self.streams.pop(stream_id, None)
        if stream is not None:
            self._closed_streams[stream_id] = stream.closed_by


class _ServerEncoder(Encoder):
    """HPACK literals without Huffman coding: Huffman in pure Python costs more than the rest of the
    answer. Apple's real answers are Huffman coded; a client pays about 50 us more to read them."""

    def encode(self, headers: Any, huffman: bool = False) -> bytes:
        parts = [super().encode(())] if self.header_table.resized else []
        for name, value in headers:
            parts.append(b"\x00%c%b%c%b" % (len(name), name, len(value), value))
        return b"".join(parts)


class _Stream:
    __slots__ = ("answered", "body", "headers")

    def __init__(self, headers: dict[str, str]) -> None:
        self.headers = headers
        self.body = bytearray()
        self.answered = False


class ApnsServerConnection(asyncio.Protocol):
    """Reads requests, asks the rules, answers or misbehaves."""

    def __init__(self, standin: "ApnsStandin") -> None:
        self._standin = standin
        self._loop = asyncio.get_running_loop()
        self._h2 = _ServerH2(
            H2Configuration(
                client_side=False,
                validate_inbound_headers=standin.strict,
                normalize_inbound_headers=standin.strict,
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
            )
        )
        self._h2.local_settings = Settings(
            client=False,
            initial_values={SettingCodes.MAX_CONCURRENT_STREAMS: standin.streams_initial},
        )
        self._h2.encoder = _ServerEncoder()
        self._granted = standin.streams_initial
        self._proven = False
        self._last_stream_id: int | None = None
        self._streams: dict[int, _Stream] = {}
        self._transport: asyncio.Transport | None = None
        self._flushing = False
        self.deaf = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A cast: uvloop's transports are not subclasses of asyncio's.
        self._transport = cast(asyncio.Transport, transport)
        self._standin.connections_seen += 1
        self._standin.connections.add(self)
        self._h2.initiate_connection()
        if self._standin.initial_window != 65_535:
            # As an update: h2 then lets pass what the client sent before it could know.
            window: dict[SettingCodes | int, int] = {
                SettingCodes.INITIAL_WINDOW_SIZE: self._standin.initial_window
            }
            self._h2.update_settings(window)
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._streams.clear()
        self._standin.connections.discard(self)

    def abort(self) -> None:
        """Cut the connection."""
        if self._transport is not None:
            self._transport.abort()

    def grant(self, streams: int) -> None:
        """Announce a new MAX_CONCURRENT_STREAMS."""
        self._granted = streams
        self._h2.update_settings({SettingCodes.MAX_CONCURRENT_STREAMS: streams})
        self._flush()

    def say_goaway(self, last_stream_id: int, reason: str | None) -> None:
        """GOAWAY, then answer what is at or below `last_stream_id`, then close.

        Written as a raw frame: h2 would refuse to answer anything after its own GOAWAY.
        """
        self._flush()
        frame = GoAwayFrame(0, last_stream_id=last_stream_id)
        if reason:
            frame.additional_data = orjson.dumps({"reason": reason})
        if self._transport is not None:
            self._transport.write(frame.serialize())
        self._last_stream_id = last_stream_id
        for stream_id in [stream_id for stream_id in self._streams if stream_id > last_stream_id]:
            del self._streams[stream_id]
        self._close_when_drained()

    def data_received(self, data: bytes) -> None:
        if self.deaf:
            return
        try:
            for event in self._h2.receive_data(data):
                self._on_event(event)
        except ProtocolError:
            self._flush()
            self.abort()
            return
        self._flush_soon()

    def _on_event(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.RequestReceived):
            self._open(event)
        elif isinstance(event, h2.events.DataReceived):
            self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            if (stream := self._streams.get(event.stream_id)) is not None:
                stream.body += event.data
        elif isinstance(event, h2.events.StreamEnded):
            if (stream := self._streams.get(event.stream_id)) is not None:
                self._serve(event.stream_id, stream)
        elif isinstance(event, h2.events.StreamReset):
            self._standin.resets_seen += 1
            self._streams.pop(event.stream_id, None)
            self._h2.forget(event.stream_id)
            self._close_when_drained()
        elif isinstance(event, h2.events.PingReceived):
            self._standin.pings_seen += 1
        elif isinstance(event, h2.events.ConnectionTerminated):
            self.abort()

    def _open(self, event: h2.events.RequestReceived) -> None:
        if self._last_stream_id is not None and event.stream_id > self._last_stream_id:
            return
        if len(self._streams) >= self._granted:
            self._reset(event.stream_id, ErrorCodes.REFUSED_STREAM)
            return
        headers = {name.decode(): value.decode() for name, value in event.headers}
        self._streams[event.stream_id] = _Stream(headers)
        self._standin.streams_peak = max(self._standin.streams_peak, len(self._streams))

    def _serve(self, stream_id: int, stream: _Stream) -> None:
        standin, headers = self._standin, stream.headers
        fault = standin.token_fault(headers.get("authorization", ""))
        if fault is not None:
            self._answer(stream_id, Rule(status=403, reason=fault))
            return
        if not self._proven:
            self._proven = True
            self.grant(standin.streams_max)
        token = headers.get(":path", "").removeprefix(_PATH_PREFIX)
        payload, refusal = self._checked(stream)
        rule = refusal or standin.book.match(token)
        standin.journal.record(_entry(headers, token, payload, rule))
        delay_s = standin.book.delay_s(rule)
        if delay_s > 0:
            self._loop.call_later(delay_s, self._react, stream_id, rule)
        else:
            self._react(stream_id, rule)

    def _checked(self, stream: _Stream) -> tuple[dict[str, Any], Rule | None]:
        fault = self._standin.topic_fault(stream.headers.get("apns-topic"))
        if fault is not None:
            return {}, Rule(status=400, reason=fault)
        if len(stream.body) > PAYLOAD_MAX_BYTES:
            return {}, Rule(status=413, reason="PayloadTooLarge")
        try:
            payload = orjson.loads(stream.body)
        except orjson.JSONDecodeError:
            return {}, Rule(status=400, reason="PayloadEmpty")
        return payload, None

    def _react(self, stream_id: int, rule: Rule) -> None:
        if self._transport is None or stream_id not in self._streams:
            return
        if rule.action in (Action.ANSWER, Action.CLOSE_MID_RESPONSE):
            self._answer(stream_id, rule)
        elif rule.action in (Action.RESET, Action.ACCEPT_THEN_RESET):
            self._reset(stream_id, rule.h2_error)
        elif rule.action is Action.GOAWAY:
            self.say_goaway(stream_id - 2 if stream_id > 2 else 0, rule.reason)
        elif rule.action is Action.DROP_CONNECTION:
            self.abort()

    def _answer(self, stream_id: int, rule: Rule) -> None:
        stream, status = self._streams[stream_id], rule.status or 200
        headers = [(b":status", str(status).encode())]
        # Lengths below 127 fit one HPACK byte, which is all `_ServerEncoder` writes.
        if len(apns_id := stream.headers.get("apns-id", "")) <= 64:
            headers.append((b"apns-id", apns_id.encode()))
        if rule.retry_after is not None:
            headers.append((b"retry-after", rule.retry_after.encode()))
        body = _error_body(rule, status)
        self._h2.send_headers(stream_id, headers, end_stream=not body)
        if rule.action is Action.CLOSE_MID_RESPONSE:
            if body:
                self._h2.send_data(stream_id, body[:5])
            self._flush()
            if self._transport is not None:
                self._transport.close()
            return
        if body and rule.split_body:
            self._h2.send_data(stream_id, body[:5])
            self._flush()
            self._loop.call_later(SPLIT_S, self._finish, stream_id, body[5:])
            return
        self._finish(stream_id, body)
        if status == 400 and self._standin.streams_after_rejection is not None:
            self.grant(self._standin.streams_after_rejection)

    def _finish(self, stream_id: int, rest: bytes) -> None:
        if self._transport is None or stream_id not in self._streams:
            return
        if rest:
            self._h2.send_data(stream_id, rest, end_stream=True)
        self._drop(stream_id)

    def _reset(self, stream_id: int, code: int) -> None:
        self._h2.reset_stream(stream_id, code)
        self._drop(stream_id)

    def _drop(self, stream_id: int) -> None:
        self._streams.pop(stream_id, None)
        self._h2.forget(stream_id)
        self._flush_soon()
        self._close_when_drained()

    def _close_when_drained(self) -> None:
        if self._last_stream_id is not None and not self._streams and self._transport is not None:
            self._flush()
            self._transport.close()

    def _flush_soon(self) -> None:
        # One TLS record and one system call for all answers of a loop turn.
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        data = self._h2.data_to_send()
        if data and self._transport is not None:
            self._transport.write(data)


def _error_body(rule: Rule, status: int) -> bytes:
    if status == 200 or rule.empty_body:
        return b""
    if rule.body is not None:
        return rule.body.encode()
    answer: dict[str, Any] = {"reason": rule.reason or "InternalServerError"}
    if rule.timestamp_ms is not None:
        answer["timestamp"] = rule.timestamp_ms
    return orjson.dumps(answer)


def _entry(
    headers: dict[str, str], token: str, payload: dict[str, Any], rule: Rule
) -> dict[str, Any]:
    alert = payload.get("aps", {}).get("alert", {})
    return {
        "provider": "apns",
        "at_ms": clock.now_ms(),
        "delivery_id": headers.get("apns-id", "").replace("-", ""),
        "token": token,
        "status": rule.answered_status,
        "reason": rule.reason,
        "action": rule.action,
        "accepted": rule.accepts,
        "title": alert.get("title", ""),
        "body": alert.get("body", ""),
        "link": payload.get("link"),
        "collapse_key": headers.get("apns-collapse-id"),
        "urgent": headers.get("apns-priority") == "10",
        "expires_at_ms": int(headers.get("apns-expiration", "0")) * 1000,
    }

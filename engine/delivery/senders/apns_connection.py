"""One HTTP/2 connection to APNs: a small `asyncio.Protocol` over the sans-IO `h2`.

It replaces aioapns' protocol, which hangs a send for good on RST_STREAM, on an error without a
body and on a cancelled neighbour, ignores GOAWAY's last_stream_id and has no deadline.

Every exchange opened here ends exactly once: with an `Answer`, or with a `Broken` that says
whether the whole request had been handed to the transport.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, cast

import structlog
from h2.config import H2Configuration
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    RemoteSettingsChanged,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    WindowUpdated,
)
from h2.exceptions import H2Error

from engine.delivery.senders.apns_h2 import ClientH2, LiteralEncoder

log = structlog.get_logger(__name__)

Headers = list[tuple[bytes, bytes]]

FRAME_HEADER_BYTES: Final = 9
FRAME_MAX_BYTES: Final = 16_384
ANSWER_MAX_BYTES: Final = 8_192
STREAM_ID_MAX: Final = 2**31 - 1_000
PING_DATA: Final = b"tripline"


@dataclass(frozen=True, slots=True)
class Answer:
    """APNs answered. `complete` is False when the body was cut off after the status."""

    status: int
    body: bytes
    retry_after: str | None
    complete: bool = True


@dataclass(frozen=True, slots=True)
class Broken:
    """No answer. `written`: APNs may have the whole request."""

    reason: str
    written: bool
    retry_after_s: float | None = None


class Exchange:
    """One request, and what is known of its answer so far."""

    __slots__ = (
        "body",
        "connection",
        "future",
        "headers",
        "received",
        "retry_after",
        "sent",
        "status",
        "stream_id",
    )

    def __init__(self, headers: Headers, body: bytes, future: asyncio.Future[Answer | Broken]):
        self.headers = headers
        self.body = body
        self.future = future
        self.connection: ApnsConnection | None = None
        self.stream_id = 0
        self.sent = -1
        self.status = 0
        self.retry_after: str | None = None
        self.received = b""

    @property
    def written(self) -> bool:
        """Whether the request, end of stream included, was handed to the transport."""
        return self.sent == len(self.body)

    def finish(self, outcome: Answer | Broken) -> None:
        """Resolve the future unless its waiter is gone."""
        if not self.future.done():
            self.future.set_result(outcome)

    def break_off(self, reason: str) -> None:
        """End without a complete answer."""
        if self.status:
            self.finish(Answer(self.status, self.received, self.retry_after, complete=False))
        else:
            self.finish(Broken(reason, self.written))


class ApnsConnection(asyncio.Protocol):
    """A connection with room for so many streams at a time.

    `on_change` is called when room may have appeared or the connection was retired or lost.
    `streams_max` bounds the streams used of those the server grants.
    """

    def __init__(
        self,
        on_change: Callable[["ApnsConnection"], None],
        *,
        streams_max: int,
        ping_interval_s: float,
        ping_timeout_s: float,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_change = on_change
        self._streams_max = streams_max
        self._ping_interval_s = ping_interval_s
        self._ping_timeout_s = ping_timeout_s
        self._h2 = ClientH2(
            # Requests are built from checked values, lowercase and in order, and of an answer only
            # two headers are read: h2's checking of an answer took a tenth of a send (profiled).
            H2Configuration(
                client_side=True,
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
                validate_inbound_headers=False,
                normalize_inbound_headers=False,
            )
        )
        self._h2.encoder = LiteralEncoder()
        self._granted = 1
        self._exchanges: dict[int, Exchange] = {}
        self._blocked: list[Exchange] = []
        self._transport: asyncio.Transport | None = None
        self._received = b""
        self._paused = False
        self._flushing = False
        self._suspect = False
        self._pinger: asyncio.TimerHandle | None = None
        self._ping_deadline: asyncio.TimerHandle | None = None
        self.closed: asyncio.Future[None] = self._loop.create_future()
        self.proven = False
        self.retired = False
        self._handlers: dict[type[Event], Callable[..., None]] = {
            ResponseReceived: self._on_response,
            DataReceived: self._on_data,
            StreamEnded: self._on_end,
            StreamReset: self._on_reset,
            RemoteSettingsChanged: self._on_settings,
            WindowUpdated: self._on_window,
            ConnectionTerminated: self._on_goaway,
        }

    @property
    def room(self) -> int:
        """How many exchanges may be opened now.

        One until APNs has accepted the provider token (it grants one stream until then, and a cold
        burst above it is lost); then what its SETTINGS grant at the moment. None between a
        missed deadline and the next sign of life, while writing is blocked, or after GOAWAY.
        """
        if self._transport is None or self._transport.is_closing() or self.retired:
            return 0
        if self._paused or self._blocked or self._suspect:
            return 0
        limit = min(self._granted, self._streams_max) if self.proven else min(self._granted, 1)
        return limit - len(self._exchanges)

    @property
    def in_flight(self) -> int:
        """Exchanges without an end yet."""
        return len(self._exchanges)

    def open(self, exchange: Exchange) -> None:
        """Send a request. Call only with `room`."""
        stream_id = self._h2.get_next_available_stream_id()
        exchange.connection, exchange.stream_id, exchange.sent = self, stream_id, 0
        self._h2.send_headers(stream_id, exchange.headers)
        self._exchanges[stream_id] = exchange
        if not self._push_body(exchange):
            self._blocked.append(exchange)
        if stream_id >= STREAM_ID_MAX:
            self.retired = True
        self._flush_soon()

    def cancel(self, exchange: Exchange) -> None:
        """Give up on an exchange: RST_STREAM CANCEL. Other streams are not touched."""
        if self._exchanges.get(exchange.stream_id) is not exchange:
            return
        self._reset(exchange, ErrorCodes.CANCEL)
        self._flush_soon()
        self._settle()

    def expire(self, exchange: Exchange) -> None:
        """The exchange's deadline passed. Ask with a PING whether anybody is there: on a silent
        network every later send of this connection would end as unknown."""
        exchange.break_off("TIMEOUT")
        self._suspect = True
        self._probe()
        self.cancel(exchange)

    def retire(self) -> None:
        """Open no more streams; close when the last answer is in."""
        self.retired = True
        self._settle()

    def close(self) -> None:
        """Close now; exchanges under way break."""
        self.retired = True
        if self._transport is not None and not self._transport.is_closing():
            self._guarded(self._h2.close_connection)
            self._flush()
            self._transport.close()

    def abort(self) -> None:
        """Drop the connection without a word."""
        self.retired = True
        if self._transport is not None:
            self._transport.abort()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A cast: uvloop's transports are not subclasses of asyncio's.
        self._transport = cast(asyncio.Transport, transport)
        self._h2.initiate_connection()
        self._flush()
        self._pinger = self._loop.call_later(self._ping_interval_s, self._keep_alive)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self.retired = True
        for timer in (self._pinger, self._ping_deadline):
            if timer is not None:
                timer.cancel()
        self._ping_deadline = None
        lost, self._exchanges = self._exchanges, {}
        self._blocked.clear()
        for exchange in lost.values():
            exchange.break_off("RESET")
        if not self.closed.done():
            self.closed.set_result(None)
        self._on_change(self)

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._on_change(self)

    def data_received(self, data: bytes) -> None:
        """Feed h2 one frame at a time.

        h2 drops the events of earlier frames when a later one in the same bytes is faulty, and
        stops at GOAWAY; frame by frame, every answer that arrived counts.
        """
        if self._ping_deadline is not None:
            self._ping_deadline.cancel()
            self._ping_deadline = None
        self._suspect = False
        # h2 empties its output at GOAWAY: what is queued must be out before.
        self._flush()
        received = self._received + data if self._received else data
        at, end = 0, len(received)
        while end - at >= FRAME_HEADER_BYTES and self._transport is not None:
            length = int.from_bytes(received[at : at + 3], "big")
            if length > FRAME_MAX_BYTES:
                self._protocol_error("frame too long")
                return
            following = at + FRAME_HEADER_BYTES + length
            if following > end:
                break
            if not self._receive_frame(received[at:following]):
                return
            at = following
        self._received = received[at:]
        self._settle()
        self._flush()

    def _receive_frame(self, frame: bytes) -> bool:
        try:
            for event in self._h2.receive_data(frame):
                handler = self._handlers.get(type(event))
                if handler is not None:
                    handler(event)
        except H2Error as error:
            self._protocol_error(type(error).__name__)
            return False
        return True

    # events

    def _on_response(self, event: ResponseReceived) -> None:
        exchange = self._exchanges.get(event.stream_id)
        if exchange is None:
            return
        for name, value in event.headers:
            if name == b":status":
                exchange.status = int(value) if value.isdigit() else 0
            elif name == b"retry-after":
                exchange.retry_after = bytes(value).decode("ascii", "replace")
        if exchange.status != 403:
            self.proven = True

    def _on_data(self, event: DataReceived) -> None:
        self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        exchange = self._exchanges.get(event.stream_id)
        if exchange is not None and len(exchange.received) < ANSWER_MAX_BYTES:
            exchange.received += event.data

    def _on_end(self, event: StreamEnded) -> None:
        exchange = self._exchanges.get(event.stream_id)
        if exchange is None:
            return
        if exchange.written:
            self._drop(exchange)
        else:
            # Answered before the body was out: nobody reads the rest.
            self._reset(exchange, ErrorCodes.NO_ERROR)
        exchange.finish(Answer(exchange.status, exchange.received, exchange.retry_after))

    def _on_reset(self, event: StreamReset) -> None:
        exchange = self._exchanges.get(event.stream_id)
        if exchange is None:
            return
        self._drop(exchange)
        if event.error_code == ErrorCodes.REFUSED_STREAM and not exchange.status:
            # RFC 9113 8.7: not processed at all.
            exchange.finish(Broken("REFUSED_STREAM", written=False))
        else:
            exchange.break_off("RESET")

    def _on_settings(self, _: RemoteSettingsChanged) -> None:
        self._granted = self._h2.remote_settings.max_concurrent_streams
        self._unblock()

    def _on_window(self, _: WindowUpdated) -> None:
        self._unblock()

    def _on_goaway(self, event: ConnectionTerminated) -> None:
        last = event.last_stream_id or 0
        self.retired = True
        self._h2.reopen_after_goaway()
        log.info(
            "apns_goaway",
            code=int(event.error_code or 0),
            detail=bytes(event.additional_data or b"")[:200].decode("utf-8", "replace"),
            in_flight=len(self._exchanges),
        )
        for exchange in [e for e in self._exchanges.values() if e.stream_id > last]:
            self._drop(exchange)
            exchange.finish(Broken("GOAWAY", written=False))

    # writing

    def _push_body(self, exchange: Exchange) -> bool:
        """Send what flow control allows; True when the whole body is out."""
        body, stream_id = exchange.body, exchange.stream_id
        while True:
            window = min(
                self._h2.local_flow_control_window(stream_id), self._h2.max_outbound_frame_size
            )
            left = len(body) - exchange.sent
            if left <= window:
                self._h2.send_data(stream_id, body[exchange.sent :], end_stream=True)
                exchange.sent = len(body)
                return True
            if window <= 0:
                return False
            self._h2.send_data(stream_id, body[exchange.sent : exchange.sent + window])
            exchange.sent += window

    def _unblock(self) -> None:
        self._blocked = [exchange for exchange in self._blocked if not self._push_body(exchange)]

    def _reset(self, exchange: Exchange, code: ErrorCodes) -> None:
        self._guarded(lambda: self._h2.reset_stream(exchange.stream_id, code))
        self._drop(exchange)

    def _drop(self, exchange: Exchange) -> None:
        self._exchanges.pop(exchange.stream_id, None)
        if not exchange.written and exchange in self._blocked:
            self._blocked.remove(exchange)
        self._h2.forget(exchange.stream_id)

    def _settle(self) -> None:
        """After anything ended: close if drained, else tell the pool."""
        if self.retired and not self._exchanges:
            self.close()
        self._on_change(self)

    def _flush_soon(self) -> None:
        # One TLS record and one system call for all the requests of a loop turn.
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        if self._transport is None:
            return
        data = self._h2.data_to_send()
        if data:
            self._transport.write(data)

    def _guarded(self, action: Callable[[], None]) -> None:
        try:
            action()
        except H2Error as error:
            # The peer closed that stream or the connection first: nothing is left to tell it.
            log.debug("apns_late_frame", error=type(error).__name__)

    def _protocol_error(self, what: str) -> None:
        log.warning("apns_protocol_error", error=what, in_flight=len(self._exchanges))
        self._flush()
        self.abort()

    # liveness

    def _keep_alive(self) -> None:
        self._probe()
        self._pinger = self._loop.call_later(self._ping_interval_s, self._keep_alive)

    def _probe(self) -> None:
        if self._transport is None or self._ping_deadline is not None:
            return
        self._guarded(lambda: self._h2.ping(PING_DATA))
        self._ping_deadline = self._loop.call_later(self._ping_timeout_s, self._on_silence)
        self._flush_soon()

    def _on_silence(self) -> None:
        log.warning("apns_connection_silent", in_flight=len(self._exchanges))
        self.abort()

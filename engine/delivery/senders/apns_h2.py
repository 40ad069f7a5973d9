"""`h2` and `hpack` as the APNs connection needs them: cheaper, and not ending at GOAWAY.

Both classes lean on internals of pinned versions; the integration tests of the sender prove them.
"""

from typing import Any, Final

from h2.connection import ConnectionState, H2Connection
from hpack import Encoder
from hpack.hpack import encode_integer


class LiteralEncoder(Encoder):
    """HPACK literals, neither indexed nor Huffman coded (RFC 7541 6.2.2, 6.2.3).

    hpack's own encoder took about a fifth of the CPU of a send (profiled): it searches its table
    and Huffman codes bit by bit in Python. Apple asks for `:path` and `authorization` without
    indexing anyway.
    """

    def encode(self, headers: Any, huffman: bool = False) -> bytes:
        # The base class says what it must when the peer resized the table.
        parts = [super().encode(())] if self.header_table.resized else []
        for name, value in headers:
            parts.append(_NAMES.get(name) or _name(name))
            size = len(value)
            parts.append(_SIZES[size] if size < 127 else bytes(encode_integer(size, 7)))
            parts.append(value)
        return b"".join(parts)


def _name(name: bytes) -> bytes:
    return b"\x00" + bytes(encode_integer(len(name), 7)) + name


_SIZES: Final = [bytes([size]) for size in range(127)]
# Names of the static table by their index; never-indexed for what is secret or differs each time.
_NAMES: Final = {
    b":authority": b"\x01",
    b":method": b"\x02",
    b":path": b"\x14",
    b":scheme": b"\x06",
    b"authorization": b"\x1f\x08",
} | {
    name: _name(name)
    for name in (
        b"apns-topic",
        b"apns-push-type",
        b"apns-priority",
        b"apns-id",
        b"apns-expiration",
        b"apns-collapse-id",
    )
}


class ClientH2(H2Connection):
    """h2 counts open streams by walking them all for each request; the connection here keeps the
    limit itself and drops streams as they end."""

    @property
    def open_outbound_streams(self) -> int:
        return 0

    def forget(self, stream_id: int) -> None:
        """Drop an ended stream, remembering how it ended: late frames depend on it."""
        stream = self.streams.pop(stream_id, None)
        if stream is not None:
            self._closed_streams[stream_id] = stream.closed_by

    def reopen_after_goaway(self) -> None:
        """h2 takes GOAWAY for the end of the connection and would fail on the answers that RFC 9113
        6.8 lets the peer send to streams up to last_stream_id."""
        if self.state_machine.state is ConnectionState.CLOSED:
            self.state_machine.state = ConnectionState.CLIENT_OPEN

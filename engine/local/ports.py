"""Free TCP ports on the loopback address."""

import random
import socket
from pathlib import Path

HOST = "127.0.0.1"
_FIRST_PORT = 15_000
_LAST_PORT_DEFAULT = 32_000
_EPHEMERAL_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_TRIES_MAX = 1_000

_handed_out: set[int] = set()


def free_port() -> int:
    """A port on 127.0.0.1 that is free now and that this function has not returned before.

    It lies below the kernel's ephemeral range. A port from that range (what binding to port 0
    gives) can be taken by any outgoing connection while its owner is being restarted.
    Raises `RuntimeError` when no port is found.
    """
    last = _last_port()
    for _ in range(_TRIES_MAX):
        port = random.randint(_FIRST_PORT, last)
        if port not in _handed_out and is_free(port):
            _handed_out.add(port)
            return port
    raise RuntimeError(f"no free port between {_FIRST_PORT} and {last}")


def is_free(port: int) -> bool:
    """True when nothing is bound to `port` on 127.0.0.1 or on every address."""
    for host in (HOST, "0.0.0.0"):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            # Without it a port in TIME_WAIT counts as taken, although a server may bind to it.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                return False
    return True


def accepts(port: int, *, timeout_s: float = 0.5) -> bool:
    """True when something on 127.0.0.1:`port` accepts a TCP connection."""
    try:
        with socket.create_connection((HOST, port), timeout=timeout_s):
            return True
    except OSError:
        return False


def _last_port() -> int:
    try:
        ephemeral_first = int(_EPHEMERAL_RANGE.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return _LAST_PORT_DEFAULT
    if ephemeral_first - 1 < _FIRST_PORT + _TRIES_MAX:
        return _LAST_PORT_DEFAULT
    return min(ephemeral_first - 1, 65_000)

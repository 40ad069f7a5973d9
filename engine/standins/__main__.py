"""Run the stand-ins as a process; print one readiness line, stop on SIGTERM or SIGINT."""

import argparse
import asyncio
import signal
from pathlib import Path

from engine.standins.apns import ApnsStandin
from engine.standins.certificates import make_material
from engine.standins.fcm import FcmStandin
from engine.standins.journal import Journal
from engine.standins.rules import Delay


async def serve(options: argparse.Namespace) -> None:
    """Serve until a signal asks to stop."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    material = make_material(options.dir)
    delay = Delay(low=options.delay_ms, high=options.delay_ms)
    # Each stand-in keeps its own entries for its control endpoint; the file is shared.
    fcm_journal, apns_journal = Journal(options.log), Journal(options.log)
    fcm = FcmStandin(material, fcm_journal, delay=delay)
    apns = ApnsStandin(material, apns_journal, delay=delay, strict=options.strict)
    try:
        await fcm.start(options.fcm_port)
        await apns.start(options.apns_port)
        control_port = await apns.start_control(options.control_port)
        print(f"ready fcm={fcm.base_url} apns={apns.port} control={control_port}", flush=True)
        await stop.wait()
    finally:
        await fcm.stop()
        await apns.stop()
        fcm_journal.close()
        apns_journal.close()


def main() -> None:
    """Parse the options and serve."""
    parser = argparse.ArgumentParser(prog="python -m engine.standins", description=__doc__)
    parser.add_argument("--fcm-port", type=int, required=True)
    parser.add_argument("--apns-port", type=int, required=True)
    parser.add_argument("--control-port", type=int, required=True)
    parser.add_argument("--dir", type=Path, required=True, help="keys and certificates")
    parser.add_argument("--delay-ms", type=float, default=0.0)
    parser.add_argument("--log", type=Path, default=None, help="JSON lines, appended")
    parser.add_argument("--strict", action="store_true", help="validate every APNs header")
    asyncio.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()

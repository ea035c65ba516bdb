"""A small server that misbehaves on request, to stand where Kafka or Trino would.

It answers GET / with its identity. `--delay-s` makes it slow to listen, `--die-after-s` makes it end, `--ignore-term`
makes it deaf, `--detach` makes it begin a child in a session of its own, `--rename` wipes out its environment.
"""

import argparse
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

DETACHED_CHILD = "import time\nwhile True: time.sleep(0.2)"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--identity", default="ours")
    parser.add_argument("--delay-s", type=float, default=0.0)
    parser.add_argument("--die-after-s", type=float)
    parser.add_argument("--ignore-term", action="store_true")
    parser.add_argument("--detach", action="store_true")
    parser.add_argument("--rename", action="store_true")
    options = parser.parse_args()
    if options.ignore_term:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if options.rename:
        _wipe_environment()
    if options.detach:
        subprocess.Popen([sys.executable, "-c", DETACHED_CHILD], start_new_session=True)
    if options.die_after_s is not None:
        if options.die_after_s == 0:
            print("no such option: frobnicate", flush=True)
            sys.exit(3)
        threading.Timer(options.die_after_s, lambda: os._exit(4)).start()
    time.sleep(options.delay_s)
    identity = options.identity.encode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(identity)))
            self.end_headers()
            self.wfile.write(identity)

        def log_message(self, *_arguments: object) -> None:
            return

    print(f"listening on {options.port}", flush=True)
    HTTPServer(("127.0.0.1", options.port), Handler).serve_forever()


def _wipe_environment() -> None:
    """Overwrite the memory that /proc/<pid>/environ shows, as programs do that change their title."""
    with open("/proc/self/stat", encoding="ascii") as stream:
        fields = stream.read().rpartition(")")[2].split()
    # Fields 50 and 51 of proc(5), counted from the third: env_start and env_end.
    start, end = int(fields[47]), int(fields[48])
    ctypes.memset(start, 0, end - start)


if __name__ == "__main__":
    main()

"""A well-behaved task: says what it sees, copies its input, ends as it is told."""

import json
import os
import signal
import sys
import time
from pathlib import Path

order = json.loads(sys.argv[1]) if len(sys.argv) > 1 else {}
seen = {"cwd": os.getcwd(), "environment": dict(os.environ), "uid": os.getuid()}  # noqa: PTH109
for place in order.get("read", []):
    path = Path(place)
    seen[place] = path.read_text() if path.is_file() else sorted(p.name for p in path.iterdir())
for place, text in order.get("write", {}).items():
    try:
        Path(place).write_text(text)
    except OSError as error:
        seen[place] = str(error)
Path("/report/seen.json").write_text(json.dumps(seen))
time.sleep(order.get("sleep", 0))
if "signal" in order:
    os.kill(os.getpid(), getattr(signal, order["signal"]))
sys.exit(order.get("exit", 0))

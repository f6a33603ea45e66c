"""Writes 300 MB to its log."""

import sys

line = b"a line of the log that tells nothing\n" * 30_000
log = sys.stdout.buffer
log.write(b"first words\n")
for _ in range(300):
    log.write(line)
log.write(b"last words\n")
log.flush()

"""Leaves something in the outputs that is not a plain file: the argument says what."""

import os
import socket
import stat
import sys
from pathlib import Path

out = Path("/report")
(out / "good.txt").write_text("good")
what = sys.argv[1]
if what == "link":
    (out / "link").symlink_to("/etc/passwd")
elif what == "folder-link":
    (out / "link").symlink_to("/")
elif what == "fifo":
    os.mkfifo(out / "fifo")
elif what == "whiteout":
    os.mknod(out / "whiteout", 0o600 | stat.S_IFCHR, os.makedev(0, 0))  # needs no capability
elif what == "hard":
    os.link(out / "good.txt", out / "again.txt")
elif what == "names":
    for name in (b"new\nline", b"\xff\xfe", b"\x1b[31m", b" ", b"-rf", b"n" * 255):
        (out / os.fsdecode(name)).write_text("odd")
elif what == "socket":
    os.chdir(out)
    socket.socket(socket.AF_UNIX).bind("socket")
elif what == "deep":
    os.chdir(out)
    for _ in range(2000):
        os.mkdir("d")  # noqa: PTH102
        os.chdir("d")
elif what == "closed":
    (out / "folder").mkdir()
    (out / "folder" / "file").write_text("inside")
    (out / "folder" / "file").chmod(0)
    (out / "folder").chmod(0)
    (out / "good.txt").chmod(0o6777)
elif what == "sparse":
    with (out / "sparse").open("wb") as file:
        for size in (1 << 42, 31 << 20):
            try:
                file.truncate(size)
                break
            except OSError:
                continue
    with (out / "sparse2").open("wb") as file:
        file.truncate(31 << 20)

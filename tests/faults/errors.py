"""A disk that fails under load: errors.py

Reads, writes and syncs fail with EIO for a while, or the file system turns read-only, while devices register and snaps are
uploaded. Devices must be told to come back (503), nothing acknowledged may get lost, nothing may be acknowledged that is
not on the disk (the power is cut afterwards to see), and the server must go on: by itself, or after a restart where its log
says so.
"""

import os
import sys
import time

from line import Book, Station
from power import loaded
from vault import BRAND, MODEL, Fault, TroubledDisk, Vault, digest_of, keys, must, say, snaps, wait

JOURNAL, INDEX, FILES = "data/db/journal", "data/db/index/*", "data/blobs/*"
ALL = ["write", "length", "change", "fsync"]
# Name, calls that fail, of which files, how, what brings the server back: "itself" or "restart"; none where registrations
# go on all the time.
CASES = [
    ("writes of the journal fail", ["write"], JOURNAL, "EIO", "itself"),
    ("the journal cannot even be cut back", ["write", "length"], JOURNAL, "EIO", "restart"),
    ("syncs of the journal fail", ["fsync"], JOURNAL, "EIO", "restart"),
    ("reads of the journal fail", ["read"], JOURNAL, "EIO", None),
    ("files of snaps cannot be written", ["write", "fsync"], FILES, "EIO", None),
    ("names of files of snaps cannot be synced", ["fsync"], "data/blobs/??", "EIO", None),
    ("the disk is full", ["write", "change"], "*", "ENOSPC", "itself"),
    ("the file system turns read-only", ALL, "*", "EROFS", "restart"),
    ("everything fails", ["read", *ALL], "*", "EIO", "restart"),
]


def known(vault, book, calls):
    """A serial of before is given to whoever asks, as far as it can be read; whether it was."""
    serial, _, _ = book.serials[0]
    status, body = Station(vault.address, vault.api_key).ask("GET", f"/v2/assertions/serial/{BRAND}/{MODEL}/{serial}")
    must(status == 200 or ("read" in calls and status == 503), f"a serial of before: {status} {body[:200]!r}")
    must(vault.get("/healthz")[0] == 200, "/healthz does not answer")
    return status == 200


def only(told, allowed, when):
    """Answers to devices are of these kinds only."""
    strange = {what: count for what, count in told.items() if not any(str(what).startswith(one) for one in allowed)}
    must(not strange, f"{when}: answers {strange}")


def registers(vault, book, device_keys):
    """One registration succeeds."""
    station = Station(vault.address, vault.api_key)
    return station.register(device_keys[0], BRAND, MODEL, f"probe-{len(book.serials)}", book)


def case(disk, vault, book, device_keys, work, row):
    name, calls, match, number, cure = row
    disk.mount()
    vault.serve()
    book.answers.clear()
    load = loaded(vault, book, device_keys, work, 1.0)
    only(book.told() | book.told("request-id"), ["200"], f"{name}, before")
    logged = len(vault.logged())
    disk.tell(do="fault", calls=calls, match=match, errno=number)
    time.sleep(1.5)
    if not known(vault, book, calls) or cure:
        must(vault.get("/readyz")[0] == 503, f"{name}: /readyz does not say so")
    failed = disk.tell(do="look")["failed"]
    during = book.told()
    only(during | book.told("request-id"), ["200", "503"], name)
    if cure:
        must(any(str(what).startswith("503") for what in during), f"{name}: nobody was sent away: {during}")
    else:
        must(during.get(200), f"{name}: nobody registered: {during}")
    disk.tell(do="heal")
    if cure == "restart":
        time.sleep(0.5)
        must(not registers(vault, book, device_keys), f"{name}: it goes on without a restart; say so in docs/operations.md")
        must("until the database is opened again" in vault.logged()[logged:], f"{name}: the log does not say what to do")
        load.stop()
        vault.stop()
        vault.serve()
        must(registers(vault, book, device_keys), f"{name}: a restart does not help: {book.told()}")
        vault.holds(book)
        load = loaded(vault, book, device_keys, work, 0.5)
    else:
        wait(15, lambda: registers(vault, book, device_keys), f"{name}: no registration succeeds")
        must(vault.get("/readyz")[0] == 200, f"{name}: /readyz is not good again")
        time.sleep(0.5)
    book.told("upload")
    wait(20, lambda: book.told("upload").get(0), f"{name}: no upload succeeds")
    disk.cut(vault, 1, "nothing")
    load.stop()
    disk.mount()
    vault.serve()
    vault.holds(book)
    vault.verified()
    # Stopped in order, the index is trusted by the next start: it must be on the disk too.
    must(vault.stop() == 0, "the server does not stop in order")
    disk.cut(vault, 1, "nothing")
    disk.mount()
    vault.sound()
    disk.cut(vault, 1, "everything")
    say(f"ok   {name}: {failed} calls failed; registrations {during}; {'back by ' + cure if cure else 'devices went on'}")


def index_case(disk, vault, book, device_keys, work):
    """Syncs of the index fail while it is closed; what was lost by that may be read until the machine goes down."""
    disk.mount()
    vault.serve()
    load = loaded(vault, book, device_keys, work, 1.5)
    load.stop()
    disk.tell(do="fault", calls=["fsync"], match=INDEX, errno="EIO")
    status = vault.stop()
    must(status != 0, "a server that could not sync its index says that it stopped in order")
    disk.tell(do="heal")
    vault.serve()
    load = loaded(vault, book, device_keys, work, 1.0)
    load.stop()
    must(vault.stop() == 0, "the server does not stop in order")
    logged = len(vault.logged())
    disk.cut(vault, 7, "nothing")
    disk.mount()
    vault.serve()
    must("broken" not in vault.logged()[logged:], "an index was trusted that is broken")
    vault.holds(book)
    vault.verified()
    must(vault.stop() == 0, "the server does not stop in order")
    vault.sound()
    disk.cut(vault, 8, "nothing")
    say(f"ok   syncs of the index fail: exit status {status}, then it is made anew")


def folder_case(disk, vault, book, work):
    """The name of a new folder of files cannot be synced: who finds the folder there later must not rely on it."""
    disk.mount()
    vault.serve()
    [path] = snaps(work, 1, name="fault-folder")
    disk.tell(do="fault", calls=["fsync"], match="data/blobs", errno="EIO")
    done = vault.run("snap", "add", path, "--release", "edge", check=False)
    must(done.returncode == 1, f"an upload that is not on the disk is acknowledged: {done}")
    disk.tell(do="heal")
    vault.run("snap", "add", path, "--release", "edge")
    book.uploads.append(("fault-folder", 1, digest_of(path)))
    disk.cut(vault, 1, "nothing")
    disk.mount()
    vault.serve()
    vault.holds(book)
    disk.cut(vault, 1, "nothing")
    say("ok   the name of a folder of files cannot be synced: the upload is refused, and kept when it is sent again")


def start_case(disk, vault, book):
    """A server that cannot read says so and ends; nothing is made anew in place of what cannot be read."""
    for match in (JOURNAL, INDEX):
        disk.mount()
        disk.tell(do="fault", calls=["read", "open"], match=match, errno="EIO")
        done = vault.run("serve", "--listen", "127.0.0.1:0", check=False, timeout=20)
        refused = done.returncode == 1 and "error: cannot open the database" in done.stderr
        must(refused, f"it starts without {match}: {done.stderr[-500:]}")
        must("Input/output error" in done.stderr, f"it does not say why: {done.stderr[-500:]}")
        disk.tell(do="heal")
        vault.serve()
        vault.holds(book)
        disk.cut(vault, 9, "nothing")
    say("ok   a server that cannot read its database says so, and starts once it can")


def main():
    say("a failing disk")
    work = os.environ["FAULTS_WORK"]
    disk = TroubledDisk(work)
    vault, book, device_keys = Vault(work, os.path.join(disk.at, "data")), Book(), keys()
    disk.mount()
    vault.make()
    must(registers(vault, book, device_keys), "no registration succeeds")
    disk.tell(do="settle")
    disk.cut(vault, 1, "nothing")
    wanted = sys.argv[1] if len(sys.argv) > 1 else ""
    for row in CASES:
        if wanted in row[0]:
            try:
                case(disk, vault, book, device_keys, work, row)
            except Fault as fault:
                raise Fault(f"{row[0]}: {fault}") from fault
    if wanted in "syncs of the index fail":
        index_case(disk, vault, book, device_keys, work)
    if wanted in "the name of a folder":
        folder_case(disk, vault, book, work)
    if wanted in "it cannot start":
        start_case(disk, vault, book)
    serials, uploads, tokens = book.size()
    say(f"ok   {serials} serials, {uploads} uploads, {tokens} tokens were acknowledged; all are there")


if __name__ == "__main__":
    try:
        main()
    except Fault as fault:
        sys.exit(f"FAIL {fault}")

"""Power cuts under load: power.py CYCLES [SEED]

A server works on a disk that loses what was not synced (disk.py); devices register, snaps are uploaded and released, tokens
made. At a random moment the power goes. Afterwards the server must open what is left by itself, and everything it
acknowledged must be there. First the disk is made to lie about single syncs: each lie must be noticed, or this suite
would not notice a missing sync of ours.
"""

import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time

from line import Book, Load
from vault import Fault, TroubledDisk, Vault, digest_of, keys, must, say, snaps

HOWS = ["nothing", "torn", "length", "mixed", "mixed", "everything"]
# Which lie loses what.
LIES = [
    ("the journal is not synced", "data/db/journal"),
    ("files of snaps are not synced", "data/blobs/staging/*"),
    ("names of files of snaps are not synced", "data/blobs/[0-9a-f][0-9a-f]"),
    ("names of folders of files are not synced", "data/blobs"),
]


class Publishing:
    """Somebody who uploads and releases snaps, and makes tokens."""

    def __init__(self, vault, book, work, pause=0):
        self.vault, self.book, self.work, self.pause, self.count = vault, book, work, pause, 0

    def __call__(self, load):
        while not load.ended.wait(self.pause):
            self.count += 1
            folder = tempfile.mkdtemp(dir=self.work)
            [path] = snaps(folder, 1)
            done = self.vault.run("snap", "add", path, "--release", "edge", "--format", "json", check=False)
            self.book.note("upload", done.returncode)
            if done.returncode == 0:
                revision = json.loads(done.stdout)["revision"]["revision"]
                with self.book.lock:
                    self.book.uploads.append(("fault-app", revision, digest_of(path)))
            shutil.rmtree(folder)
            if self.count % 3 == 1:
                done = self.vault.run("token", "create", "--expires", "1d", check=False)
                self.book.note("token", done.returncode)
                if done.returncode == 0:
                    self.book.tokens.append(done.stdout.strip())


def loaded(vault, book, device_keys, work, seconds):
    """Runs the load for a while; to be stopped by the caller."""
    load = Load(vault, book, device_keys, devices=5, publish=Publishing(vault, book, work))
    time.sleep(seconds)
    return load


def lie(work, name, match, ready, device_keys, api_key):
    """A disk that lies about some syncs must lose something."""
    disk = TroubledDisk(os.path.join(work, "lie"))
    shutil.copy(ready, disk.state)
    shutil.copytree(os.path.join(work, "home"), os.path.join(disk.work, "home"), dirs_exist_ok=True)
    vault, book = Vault(disk.work, os.path.join(disk.at, "data")), Book()
    vault.api_key = api_key
    disk.mount()
    disk.tell(do="lie", match=match)
    vault.serve()
    load = loaded(vault, book, device_keys, work, 2.5)
    disk.cut(vault, 1, "nothing")
    load.stop()
    must(book.serials and book.uploads, f"too little was done before the cut: {book.size()}")
    disk.mount()
    try:
        vault.serve()
        vault.holds(book)
        found = None
    except Fault as fault:
        found = str(fault)
    vault.kill()
    disk.unmount()
    must(found, f"a disk where {name} loses nothing: these checks see no missing sync")
    say(f"ok   a lying disk is noticed: {name}: {found.splitlines()[0][:150]}")


def main():
    cycles = int(sys.argv[1])
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.SystemRandom().randrange(1 << 32)
    say(f"power cuts: {cycles} cycles, seed {seed}")
    dice = random.Random(seed)
    work = os.environ["FAULTS_WORK"]
    disk = TroubledDisk(work)
    vault, book, device_keys = Vault(work, os.path.join(disk.at, "data")), Book(), keys()

    # Made on this disk as well: what init said is there must survive the first cut.
    disk.mount()
    vault.make()
    disk.cut(vault, seed, "nothing")
    disk.mount()
    vault.serve()
    vault.holds(book)
    must(vault.stop() == 0, "the server does not stop in order")
    disk.cut(vault, seed, "nothing")
    ready = os.path.join(work, "ready.state")
    shutil.copy(disk.state, ready)
    say("ok   an instance survives a cut right after it was made")

    os.makedirs(os.path.join(work, "lie"), exist_ok=True)
    for name, match in LIES:
        lie(work, name, match, ready, device_keys, vault.api_key)

    slowest, torn_names, torn_bytes, repaired = 0.0, 0, 0, 0
    for cycle in range(cycles):
        how, since = dice.choice(HOWS), len(book.serials)
        disk.mount()
        if dice.random() < 0.15:
            # The power goes again while the last cut is being put right.
            try:
                vault.serve(within=dice.uniform(0.02, 0.3))
            except Fault as fault:
                must("does not listen" in str(fault), str(fault))
            disk.cut(vault, dice.randrange(1 << 32), dice.choice(HOWS))
            disk.mount()
        if cycle % 4 == 1:
            repaired += vault.sound()
        vault.serve()
        slowest = max(slowest, vault.started)
        vault.holds(book, since=max(0, since - 150))
        if cycle % 4 == 3:
            vault.verified()
        if book.requests:
            for request in book.requests[-3:]:
                status, body = vault.post("/v1/serial", request, "application/x.ubuntu.assertion")
                must(status == 400, f"a request-id was good twice: {status} {body[:200]!r}")
        disk.tell(do="delay", seconds=dice.choice([0, 0, 0.005, 0.05]))
        # At night now and then long enough for changes to move into the index meanwhile.
        long = cycle % 40 == 39 and cycles > 100
        load = loaded(vault, book, device_keys, work, 30 if long else dice.uniform(0.3, 2.0))
        end = dice.random()
        if end < 0.15:
            must(vault.stop() == 0, "the server does not stop in order")
        elif end < 0.25:
            # In the middle of stopping.
            vault.process.send_signal(signal.SIGTERM)
            time.sleep(dice.uniform(0, 0.15))
        told = disk.cut(vault, dice.randrange(1 << 32), how)
        load.stop()
        torn_names += told["names"]
        torn_bytes += told["bytes"]
    disk.mount()
    repaired += vault.sound()
    vault.serve()
    rows = vault.holds(book)
    vault.verified()
    must(vault.stop() == 0, "the server does not stop in order")
    disk.unmount()
    serials, uploads, tokens = book.size()
    must(serials >= cycles and uploads >= cycles // 4, f"too little was done: {book.size()}")
    say(
        f"ok   {cycles} power cuts: {serials} acknowledged serials ({rows} in all), {uploads} uploads, {tokens} tokens are "
        f"all there; {torn_names} changes of names and {torn_bytes} bytes were at stake, {repaired} times files belonged to nothing, "
        f"slowest start {slowest:.1f} s"
    )


if __name__ == "__main__":
    try:
        main()
    except Fault as fault:
        sys.exit(f"FAIL {fault}")

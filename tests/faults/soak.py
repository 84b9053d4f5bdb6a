"""Full load for a while, with memory watched: soak.py SECONDS [FOLDER]

As many registrations as two processes of clients can make, an upload now and then, and serials asked for again.
Once the server is warm its resident memory may not grow by 1 % a minute for SECONDS: the slope of a straight line through the
samples, against their mean. Warm is who has more index than cache: until then the cache fills, by design, up to 64 MiB. FOLDER
is what an earlier run left, to go on with.
"""

import multiprocessing
import os
import shutil
import sys
import time

from line import Book, Load, Station
from power import Publishing
from vault import BRAND, MODEL, PASSWORD, Fault, Vault, keys, must, say

CLIENTS = 2  # processes, as many threads of devices each as below
DEVICES = 8
WARM = 72 << 20  # bytes of index; the cache has 64 MiB (SledOptions::new)
LONGEST = 2400  # seconds until it is warm


def clients(vault, ended, told):
    """A process of devices: what was answered, and how many serials came."""
    book, device_keys = Book(), keys()
    load = Load(vault, book, device_keys, devices=DEVICES)
    reader = Station(vault.address, vault.api_key)
    while not ended.wait(0.02):
        if book.serials:
            serial = book.serials[-1][0]
            status, _ = reader.ask("GET", f"/v2/assertions/serial/{BRAND}/{MODEL}/{serial}")
            book.note("read", status)
    load.stop()
    told.put((len(book.serials), {f"{call} {what}": count for (call, what), count in book.answers.items()}))


def resident(process):
    with open(f"/proc/{process.pid}/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS")) / 1024


def index_of(vault):
    """Bytes of the index on the disk."""
    return os.stat(os.path.join(vault.data, "db/index/db")).st_blocks * 512


def slope(samples):
    """MiB a minute of a straight line through (seconds, MiB)."""
    middle = sum(at for at, _ in samples) / len(samples)
    mean = sum(size for _, size in samples) / len(samples)
    above = sum((at - middle) * (size - mean) for at, size in samples)
    return 60 * above / sum((at - middle) ** 2 for at, _ in samples), mean


def main():
    seconds = int(sys.argv[1])
    say(f"full load for {seconds} s")
    work = os.environ["FAULTS_WORK"]
    vault = Vault(work, os.path.join(work, "data"))
    if len(sys.argv) > 2:
        for part in ("data", "home"):
            shutil.copytree(os.path.join(sys.argv[2], part), os.path.join(work, part), ignore=shutil.ignore_patterns("*.sock"))
        vault.written("password", PASSWORD)
        vault.serve()
        vault.log_in()
        vault.api_key = vault.run("model", "api-key", "add", MODEL).stdout.split()[0]
    else:
        vault.make()
    told, ended = multiprocessing.Queue(), multiprocessing.Event()
    processes = [multiprocessing.Process(target=clients, args=(vault, ended, told)) for _ in range(CLIENTS)]
    for process in processes:
        process.start()
    book = Book()
    publisher = Load(vault, book, [], devices=0, publish=Publishing(vault, book, work, pause=5))
    began, samples, warm = time.monotonic(), [], None
    while warm is None or time.monotonic() - began - warm < seconds:
        at = time.monotonic() - began
        must(vault.process.poll() is None, "the server ended")
        samples.append((at, resident(vault.process)))
        if warm is None and index_of(vault) > WARM:
            warm = at
            say(f"     warm after {at:.0f} s")
        must(warm is not None or at < LONGEST, f"the index has {index_of(vault) >> 20} MiB after {LONGEST} s")
        if len(samples) % 6 == 1:
            say(f"     {at:5.0f} s  {samples[-1][1]:7.1f} MiB, index {index_of(vault) / (1 << 20):.0f} MiB")
        time.sleep(5)
    ended.set()
    publisher.stop()
    whole = time.monotonic() - began
    serials = 0
    for _ in processes:
        count, answers = told.get(timeout=60)
        serials += count
        say(f"     answers: {answers}")
        bad = {what: many for what, many in answers.items() if what.split()[1] not in ("200", "503")}
        must(not bad, f"answers under load: {bad}")
    for process in processes:
        process.join()
    grows, mean = slope([sample for sample in samples if sample[0] >= warm])
    share = 100 * grows / mean
    say(
        f"     {serials} serials, {serials / whole:.0f} a second, {len(book.uploads)} uploads; memory {mean:.1f} MiB on average, at most "
        f"{max(size for _, size in samples):.1f}, grows by {grows:+.2f} MiB or {share:+.2f} % a minute"
    )
    must(share < 1, f"memory grows by {share:.2f} % a minute")
    must(vault.stop() == 0, "the server does not stop in order")
    say("ok   memory stays where it is under full load")


if __name__ == "__main__":
    try:
        main()
    except Fault as fault:
        sys.exit(f"FAIL {fault}")

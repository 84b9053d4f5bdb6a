#!/usr/bin/env python3
"""What a registration and a refresh cost on one machine, in processes: benches/scale.py HALLMARK [SECONDS].

The embedded database in one process, then 1, 2 and 4 processes on one PostgreSQL (Debian's, all writes synced, as it comes
but for its place). `hallmark bench load` registers 16 devices at once, then 16 open sessions, then 32 ask for updates, over real
HTTP; client and servers share this machine. For each: requests a second, p50 and p99, and the processor time per request of the servers,
of the database and of the client (which makes four device keys first). Also what a process costs that has nothing to do, and how much a registration leaves on
disk. Prints tables in Markdown. Needs root (PostgreSQL refuses to run as root and gets a user of its own), Debian's
`postgresql` and `squashfs-tools`. docs/performance.md has the results.
"""

import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time

HALLMARK = str(pathlib.Path(sys.argv[1]).resolve())
SECONDS = int(sys.argv[2]) if len(sys.argv) > 2 else 20
BRAND, MODEL, SNAP = "acme", "pi-1", "hello"
BINARIES = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin"))[-1]
TICK = os.sysconf("SC_CLK_TCK")
folder = tempfile.TemporaryDirectory(prefix="hm-scale.", ignore_cleanup_errors=True)
work = pathlib.Path(folder.name)
work.chmod(0o755)
running = []


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def run(*command, env=None):
    done = subprocess.run([str(c) for c in command], env={**os.environ, **(env or {})}, text=True, capture_output=True)
    if done.returncode != 0:
        sys.exit(f"error: cannot run {' '.join(map(str, command))}: {done.stderr.strip()}")
    return done.stdout


def start(*command, env=None, log="log"):
    with open(work / log, "ab") as sink:
        process = subprocess.Popen([str(c) for c in command], env={**os.environ, **(env or {})}, stdout=subprocess.PIPE,
                                   stderr=sink, text=True)
    running.append(process)
    return process


def stop(process, how=signal.SIGTERM):
    process.send_signal(how)
    process.wait(60)
    running.remove(process)


def seconds_of(pid):
    """Processor time of a process, in seconds."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def family(pid):
    """Processor time of a process, its children, and children that ended."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    total = sum(int(fields[n]) for n in (11, 12, 13, 14)) / TICK
    children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    for child in children:
        try:
            total += seconds_of(child)
        except FileNotFoundError:
            pass
    return total


def resident(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0


class Database:
    def __init__(self):
        self.port = free_port()
        place = work / "postgres"
        as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", "--"] if os.getuid() == 0 else []
        place.mkdir()
        if as_user:
            run("chown", "postgres:", place)
        run(*as_user, BINARIES / "initdb", f"--pgdata={place}/data", "--username=hallmark", "--auth=trust", "--encoding=UTF8",
            "--locale=C")
        self.process = start(*as_user, BINARIES / "postgres", "-D", place / "data", "-k", place, "-h", "127.0.0.1", "-p", self.port,
                             "-c", "max_connections=200", log="postgres.log")
        self.address = ["-h", "127.0.0.1", "-p", str(self.port), "-U", "hallmark"]
        while subprocess.run([BINARIES / "pg_isready", "-q", *self.address]).returncode != 0:
            time.sleep(0.2)
        run(BINARIES / "createdb", *self.address, "hallmark")
        self.url = f"postgres://hallmark@127.0.0.1:{self.port}/hallmark"

    def ask(self, text):
        return run(BINARIES / "psql", *self.address, "-d", "hallmark", "-Atc", text).strip()

    def size(self):
        self.ask("CHECKPOINT")
        return int(self.ask("SELECT pg_database_size('hallmark')"))


def tree_size(path):
    return sum(p.stat().st_size for p in path.rglob("*") if p.is_file())


def serve(data, environment):
    data.mkdir(exist_ok=True)
    process = start(HALLMARK, "serve", env={**environment, "HALLMARK_DATA": str(data), "HALLMARK_LISTEN": "127.0.0.1:0"})
    for line in process.stdout:
        if line.startswith("listening on "):
            return process, line.split()[-1]
    sys.exit(f"error: cannot start the server: see {work}/log")


def shop(url, admin):
    """A model with its assertion, and a snap in its first revision."""
    def hallmark(*arguments):
        return run(HALLMARK, *arguments, env=admin)
    hallmark("login", "--server", url, "--email", f"admin@{BRAND}.example", "--password-file", work / "password")
    key = json.loads(hallmark("model", "create", MODEL, "--format", "json"))["api-key"]
    headers = {"type": "model", "authority-id": BRAND, "series": "16", "brand-id": BRAND, "model": MODEL,
               "architecture": "amd64", "classic": "true", "gadget": "pc",
               "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
    (work / "model.json").write_text(json.dumps(headers))
    hallmark("model", "sign", work / "model.json")
    tree = work / "tree" / "meta"
    tree.mkdir(parents=True, exist_ok=True)
    (tree / "snap.yaml").write_text(f"name: {SNAP}\nversion: '1'\nsummary: s\ndescription: d\nbase: core22\n")
    run("mksquashfs", tree.parent, work / "hello.snap", "-noappend", "-all-root", "-no-xattrs", "-quiet")
    hallmark("snap", "add", work / "hello.snap", "--store", BRAND, "--publisher", BRAND, "--release", "latest/stable")
    return key


def measure(label, urls, pids, key, prefix, database, rows, *load):
    """One run of `bench load`; adds a row."""
    servers = [argument for url in urls for argument in ("--server", url)]
    before = [seconds_of(pid) for pid in pids], family(database) if database else 0
    client = start(HALLMARK, "bench", "load", *servers, "--model", f"{BRAND}/{MODEL}", "--api-key", key, "--prefix", prefix,
                   "--seconds", SECONDS, "--keys", "4", "--format", "json", *load)
    text = client.stdout.read()
    # Read before the process is waited for: its times are gone after that.
    _, _, used = os.wait4(client.pid, 0)
    client.returncode = 0
    running.remove(client)
    if not text:
        sys.exit(f"error: {label}: cannot measure: {(work / 'log').read_text()[-800:]}")
    after = [seconds_of(pid) for pid in pids], family(database) if database else 0
    for row in json.loads(text):
        if row["good"] == 0:
            continue
        if row["failed"]:
            sys.exit(f"error: {label}: answers that were not good: {row['failed']}")
        ms = 1000 / row["good"]
        rows.append([label, row["requests"], row["per-second"], f"{row['p50-ms']:.1f} / {row['p99-ms']:.1f}",
                     f"{(sum(after[0]) - sum(before[0])) * ms:.2f}", f"{(after[1] - before[1]) * ms:.2f}" if database else "-",
                     f"{(used.ru_utime + used.ru_stime) * ms:.2f}"])
        print(*rows[-1], sep=" | ", file=sys.stderr, flush=True)
        return row["good"]
    return 0


def table(head, rows):
    print("| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    for row in rows:
        print("| " + " | ".join(map(str, row)) + " |")
    print()


def of_engine(name, counts, environment, database, rows, idle, left):
    environment = {**environment, "HALLMARK_KEY_PASSPHRASE_FILE": str(work / "passphrase"), "HALLMARK_LOG": "warn"}
    first = work / name
    first.mkdir()
    run(HALLMARK, "init", "--brand", BRAND, "--admin-password-file", work / "password",
        env={**environment, "HALLMARK_DATA": str(first)})
    admin = {"HALLMARK_HOME": str(work / f"home-{name}")}
    key = None
    for count in counts:
        places = [first] + [work / f"{name}-{n}" for n in range(1, count)]
        servers = [serve(place, environment) for place in places]
        pids, urls = [process.pid for process, _ in servers], [url for _, url in servers]
        if key is None:
            key = shop(urls[0], admin)
        time.sleep(3)
        quiet = [seconds_of(pid) for pid in pids], family(database.process.pid) if database else 0
        time.sleep(10)
        used = (sum(seconds_of(pid) for pid in pids) - sum(quiet[0])) / 10 / count
        base = (family(database.process.pid) - quiet[1]) / 10 if database else 0
        idle.append([f"{name}, {count}", f"{used * 100:.2f} %", f"{base * 100:.2f} %" if database else "-",
                     f"{sum(map(resident, pids)) / count:.0f} MiB"])
        size = database.size() if database else tree_size(first)
        watched = database.process.pid if database else None
        label = f"{name}, {count}"
        good = measure(label, urls, pids, key, f"r{count}", watched, rows, "--concurrency", "16")
        if good:
            grown = (database.size() if database else tree_size(first)) - size
            left.append([label, f"{grown / good / 1024:.1f} KiB"])
        measure(label, urls, pids, key, f"s{count}", watched, rows, "--concurrency", "0", "--opening", "16")
        measure(label, urls, pids, key, f"a{count}", watched, rows, "--concurrency", "0", "--snap", SNAP, "--refreshing", "32")
        for process, _ in servers:
            stop(process)


def main():
    for name in ("passphrase", "password"):
        (work / name).write_text(f"a {name} for benchmarks only\n")
        (work / name).chmod(0o600)
    rows, idle, left = [], [], []
    of_engine("embedded", [1], {}, None, rows, idle, left)
    database = Database()
    shared = {"HALLMARK_DATABASE_URL": database.url, "HALLMARK_BLOBS_URL": f"file:{work}/blobs"}
    of_engine("PostgreSQL", [1, 2, 4], shared, database, rows, idle, left)
    stop(database.process, signal.SIGINT)
    table(["processes", "requests", "per second", "p50 / p99, ms", "servers, ms", "database, ms", "client, ms"], rows)
    table(["processes", "idle, each", "database meanwhile", "memory, each"], idle)
    table(["processes", "left on disk by a registration"], left)


try:
    main()
finally:
    for process in running:
        process.kill()

"""A hallmark under test: its data on a disk that can be troubled, its server, and what must hold of it afterwards."""

import base64
import hashlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time

from line import Key, Station, header

BRAND, MODEL = "fault-brand", "fault-model"
PASSWORD = "a password for tests only"
HALLMARK = os.environ["HALLMARK"]
HERE = os.path.dirname(os.path.abspath(__file__))
PORT = 8380  # nobody else is in this network namespace (run.sh)
BOOT = "/proc/sys/kernel/random/boot_id"


class Fault(Exception):
    """Something that must hold does not."""


def must(condition, what):
    if not condition:
        raise Fault(what)


class TroubledDisk:
    """A mounted disk.py."""

    boots = 0

    def __init__(self, work):
        self.at = os.path.join(work, "disk")
        self.state, self.socket = os.path.join(work, "disk.state"), os.path.join(work, "disk.control")
        self.work, self.process = work, None
        os.makedirs(self.at, exist_ok=True)

    def mount(self):
        """Mounts what is on the disk; the machine has another boot id from now on."""
        if os.path.exists(self.socket):
            os.unlink(self.socket)
        with open(os.path.join(self.work, "disk.log"), "a") as log:
            command = ["/usr/bin/python3", os.path.join(HERE, "disk.py"), self.at, self.state, self.socket]
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        wait(20, lambda: os.path.ismount(self.at) and self.answers(), "the disk is not mounted")
        self.new_boot()

    def new_boot(self):
        """The machine was started anew, for whoever asks the kernel."""
        TroubledDisk.boots += 1
        path = os.path.join(os.environ["FAULTS_WORK"], "boot")
        with open(path, "w") as file:
            file.write(f"00000000-0000-4000-8000-{self.boots:012}\n")
        if self.boots == 1:
            subprocess.run(["mount", "--bind", path, BOOT], check=True)
        with open(BOOT) as file:
            must(file.read().strip().endswith(f"{self.boots:012}"), "the boot id cannot be replaced")

    def answers(self):
        try:
            return self.tell(do="look") is not None
        except OSError:
            return False

    def tell(self, **command):
        with socket.socket(socket.AF_UNIX) as peer:
            peer.connect(self.socket)
            peer.sendall(json.dumps(command).encode() + b"\n")
            text = b""
            while not text.endswith(b"\n"):
                piece = peer.recv(65536)
                if not piece:
                    raise OSError("the disk does not answer")
                text += piece
        return json.loads(text)

    def unmount(self):
        subprocess.run(["umount", "--lazy", self.at], check=True)
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def cut(self, vault, seed, how):
        """A power cut: what is on the disk is settled, then nothing runs any more."""
        told = self.tell(do="cut", seed=seed, how=how)
        vault.kill()
        self.unmount()
        return told


class Vault:
    """A server process and its instance. `data` may be anywhere; the log and the log-in are in `work`."""

    brand, model = BRAND, MODEL
    address = ("127.0.0.1", PORT)

    def __init__(self, work, data):
        self.work, self.data, self.process, self.api_key = work, data, None, ""
        self.log = os.path.join(work, "serve.log")
        self.environment = {
            name: value for name, value in os.environ.items() if not name.startswith("HALLMARK") and name != "LD_PRELOAD"
        } | {
            "HALLMARK_DATA": data,
            "HALLMARK_HOME": os.path.join(work, "home"),
            "HALLMARK_KEY_PASSPHRASE_FILE": self.written("passphrase", "a passphrase for tests only"),
            "HALLMARK_LOG": "info",
        }
        self.clock = {}  # what the server gets besides, for its clock
        self.started = 0.0

    def written(self, name, text):
        path = os.path.join(self.work, name)
        with open(path, "w", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
            file.write(text + "\n")
        return path

    def run(self, *arguments, check=True, timeout=60, token=None):
        """Runs a command of hallmark to its end."""
        environment = self.environment | ({"HALLMARK_TOKEN": token, "HALLMARK_SERVER": self.url} if token else {})
        done = subprocess.run(
            [HALLMARK, *arguments], env=environment, capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL
        )
        if check:
            must(done.returncode == 0, f"hallmark {' '.join(arguments)}: exit {done.returncode}: {done.stderr.strip()[-2000:]}")
        return done

    @property
    def url(self):
        return f"http://127.0.0.1:{PORT}"

    def make(self):
        """A new instance with a model, logged in; its server runs."""
        password = self.written("password", PASSWORD)
        self.run("init", "--brand", BRAND, "--admin-email", "admin@fault.example", "--admin-password-file", password)
        self.serve()
        self.log_in()
        self.api_key = self.run("model", "create", MODEL).stdout.strip()

    def log_in(self):
        password = os.path.join(self.work, "password")
        self.run("login", "--server", self.url, "--email", "admin@fault.example", "--password-file", password)

    def serve(self, within=60):
        """Starts the server and waits until it listens."""
        began = time.monotonic()
        output = os.path.join(self.work, "serve.out")
        with open(output, "w") as out, open(self.log, "a") as log:
            self.process = subprocess.Popen(
                [HALLMARK, "serve", "--listen", f"127.0.0.1:{PORT}"],
                env=self.environment | self.clock, stdout=out, stderr=log, stdin=subprocess.DEVNULL,
            )

        def listens():
            must(self.process.poll() is None, f"the server does not start: {self.logged()[-2000:]}")
            with open(output) as file:
                return "listening on" in file.read()

        wait(within, listens, "the server does not listen")
        self.started = time.monotonic() - began

    def logged(self):
        with open(self.log) as file:
            return file.read()

    def kill(self):
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None

    def stop(self, within=60):
        """Stops the server in order: its exit status."""
        self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(timeout=within)
        except subprocess.TimeoutExpired:
            raise Fault("the server does not stop") from None
        self.process = None
        return status

    def get(self, path):
        return Station(self.address, self.api_key).ask("GET", path)

    def post(self, path, body=b"", kind=""):
        return Station(self.address, self.api_key).ask("POST", path, body, kind)

    # What must hold

    def holds(self, book, since=0):
        """Everything in the book is there, asked over the network: serials from place `since` on."""
        rows = {}
        for row in json_lines(self.run("serial", "list", "--ndjson").stdout):
            place = (row["serial"], int(row["revision"]))
            must(place not in rows, f"{place} is there twice")
            rows[place] = row
        seen = {}
        for serial, revision, assertion in book.serials:
            must(seen.setdefault((serial, revision), assertion) == assertion, f"{serial} {revision} was issued twice")
            must((serial, revision) in rows, f"the acknowledged serial {serial}, revision {revision}, is lost")
        newest = {}
        for serial, revision, assertion in book.serials[since:]:
            newest[serial] = max(newest.get(serial, (0, b"")), (revision, assertion))
        station, wanted = Station(self.address, self.api_key), {"Accept": "application/x.ubuntu.assertion"}
        for serial, (revision, assertion) in newest.items():
            status, body = station.ask("GET", f"/v2/assertions/serial/{BRAND}/{MODEL}/{serial}", headers=wanted)
            must(status == 200, f"the acknowledged serial {serial}: {status} {body[:200]!r}")
            there = int(header_of(body, "revision"))
            must(there >= revision, f"{serial}: revision {there} in place of {revision}")
            must(there > revision or body == assertion, f"{serial}: other bytes than were acknowledged")
        for name, revision, digest in book.uploads:
            self.downloads(name, revision, digest)
        for token in book.tokens:
            self.run("whoami", token=token)
        return len(rows)

    def downloads(self, name, revision, digest):
        """An acknowledged upload is there, file and assertion."""
        status, body = self.get(f"/v2/assertions/snap-revision/{digest}?max-format=0")
        must(status == 200, f"the snap-revision of {name} {revision}: {status} {body[:200]!r}")
        must(header_of(body, "snap-revision") == str(revision), f"{name} {revision}: the assertion names another revision")
        snap_id = header_of(body, "snap-id")
        status, body = self.get(f"/download/{snap_id}_{revision}.snap")
        must(status == 200, f"the file of {name} {revision}: {status} {body[:200]!r}")
        found = base64.urlsafe_b64encode(hashlib.sha3_384(body).digest()).decode().rstrip("=")
        must(found == digest, f"{name} {revision}: the file has another digest")

    def sound(self):
        """With no server running: the doctor finds nothing wrong, but perhaps files that belong to nothing."""
        done = self.run("doctor", check=False, timeout=120)
        if done.returncode != 0:
            # Left by uploads that were never acknowledged: what --repair is for.
            text = done.stdout + done.stderr
            must("--repair" in text, f"hallmark doctor: {text[-3000:]}")
            self.run("doctor", "--repair", timeout=120)
            self.run("doctor", timeout=120)
            return 1
        return 0

    def verified(self):
        """With a server running: the audit log is whole."""
        self.run("audit", "verify", timeout=120)


def header_of(assertion, name):
    return header(assertion, name) or "0"


def json_lines(text):
    return [json.loads(line) for line in text.splitlines() if line.strip()]


def wait(seconds, condition, what):
    end = time.monotonic() + seconds
    while not condition():
        must(time.monotonic() < end, f"{what} after {seconds} s")
        time.sleep(0.02)


def snaps(folder, count, name="fault-app"):
    """Small snap files, each another one: paths."""
    made = []
    for number in range(count):
        path = os.path.join(folder, f"{name}-{number}.snap")
        with tempfile.TemporaryDirectory() as tree:
            os.chmod(tree, 0o755)
            os.mkdir(os.path.join(tree, "meta"))
            with open(os.path.join(tree, "meta/snap.yaml"), "w") as file:
                file.write(f'name: {name}\nbase: core22\nversion: "{number}"\nsummary: one\ndescription: one\n')
            with open(os.path.join(tree, "filling"), "wb") as file:
                file.write(os.urandom(100_000 + number * 7919 % 300_000))
            command = ["mksquashfs", tree, path, "-noappend", "-all-root", "-comp", "xz", "-no-xattrs", "-quiet", "-no-progress"]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        made.append(path)
    return made


def digest_of(path):
    with open(path, "rb") as file:
        return base64.urlsafe_b64encode(hashlib.sha3_384(file.read()).digest()).decode().rstrip("=")


def keys(count=2):
    return [Key() for _ in range(count)]


def say(text):
    print(text, flush=True)

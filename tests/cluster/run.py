#!/usr/bin/python3
"""Three database nodes (PostgreSQL, Patroni, etcd), three hallmark processes and HAProxy, each a host of its own in a network
namespace, under load while parts of it die: what was acknowledged is there afterwards.

    tests/cluster/run.sh [FAULTS]      (root; run.sh installs what is needed)

The settings are those of examples/cluster, with addresses, passwords and folders put in.
"""

import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
EXAMPLES = TOP / "examples" / "cluster"
HALLMARK = os.environ["HALLMARK"]
BRAND, MODEL, SNAP, TAG = "acme", "gate-1", "hello", "main"
LAN = "10.77.0"
DATABASES = {f"db{n}": f"{LAN}.1{n}" for n in (1, 2, 3)}
SERVERS = {f"hm{n}": f"{LAN}.2{n}" for n in (1, 2, 3)}
BALANCER = {"lb": f"{LAN}.30"}
HOSTS = DATABASES | SERVERS | BALANCER
URL = f"http://{BALANCER['lb']}:8000"
PREFIX = "hmc-"
# What the model promises: `ttl` of examples/cluster/patroni.yaml, plus an election, plus what HAProxy takes to see it.
SILENCE_LIMIT = 60.0
POSTGRES_BIN = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin"))[-1]

work = pathlib.Path(tempfile.mkdtemp(prefix="hallmark-cluster."))
work.chmod(0o755)
processes = {}
passed = failed = 0


def say(text):
    print(f"{time.monotonic() - began:6.1f} {text}", flush=True)


began = time.monotonic()


def result(name, good, why=""):
    global passed, failed
    if good:
        passed += 1
    else:
        failed += 1
    print(f"{'ok  ' if good else 'FAIL'} {name}{': ' + why if why and not good else ''}", flush=True)


def run(*command, check=True, quiet=True, **options):
    return subprocess.run(command, check=check, text=True, capture_output=quiet, **options)


def inside(host, *command):
    return ["ip", "netns", "exec", PREFIX + host, *command]


def start(name, command, env=None, user=None):
    """Starts a program of its own session, so that it is killed with all it started."""
    if user:
        command = [*command[:4], "setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", "--", *command[4:]]
    log = open(work / f"{name}.log", "ab")
    processes[name] = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**os.environ, **(env or {})}, start_new_session=True
    )


def alive(name):
    return name in processes and processes[name].poll() is None


def kill(name, how=signal.SIGKILL):
    if alive(name):
        os.killpg(processes[name].pid, how)
        if how == signal.SIGKILL:
            processes[name].wait()


def kill_host(host):
    """Everything that runs on a host dies at once."""
    for name in [name for name in processes if name == host or name.startswith(host + ".")]:
        kill(name)
    for pid in run("ip", "netns", "pids", PREFIX + host).stdout.split():
        try:
            os.kill(int(pid), signal.SIGKILL)
        except ProcessLookupError:
            pass


def wait(what, seconds, holds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if holds():
                return True
        except (subprocess.SubprocessError, OSError, ValueError, KeyError):
            pass
        time.sleep(0.3)
    say(f"gave up waiting: {what}")
    return False


def get(url, timeout=3):
    done = run(*inside("lb", "curl", "-fsS", "--max-time", str(timeout), url), check=False)
    return done.stdout if done.returncode == 0 else None


# The network


def lan():
    run("ip", "netns", "add", PREFIX + "lan")
    run("ip", "-n", PREFIX + "lan", "link", "add", "br0", "type", "bridge")
    run("ip", "-n", PREFIX + "lan", "link", "set", "br0", "up")
    for host, address in HOSTS.items():
        run("ip", "netns", "add", PREFIX + host)
        run("ip", "-n", PREFIX + host, "link", "add", "eth0", "type", "veth", "peer", "name", host, "netns", PREFIX + "lan")
        run("ip", "-n", PREFIX + host, "addr", "add", f"{address}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            run("ip", "-n", PREFIX + host, "link", "set", device, "up")
        run("ip", "-n", PREFIX + "lan", "link", "set", host, "master", "br0", "up")


def cut(host, off=True):
    run("ip", "-n", PREFIX + "lan", "link", "set", host, "down" if off else "up")


# The parts


def certificates():
    authority = work / "tls"
    authority.mkdir()
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    ca, key = authority / "ca.pem", authority / "server.key"
    run("openssl", "req", "-x509", *curve, "-days", "2", "-subj", "/CN=cluster", "-keyout", authority / "ca.key", "-out", ca)
    run("openssl", "req", *curve, "-subj", "/CN=database", "-keyout", key, "-out", authority / "server.csr")
    names = authority / "names"
    names.write_text("subjectAltName=" + ",".join(f"IP:{a}" for a in [*DATABASES.values(), BALANCER["lb"]]))
    run("openssl", "x509", "-req", "-in", authority / "server.csr", "-CA", ca, "-CAkey", authority / "ca.key",
        "-CAcreateserial", "-days", "2", "-extfile", names, "-out", authority / "server.pem")
    for file in (key, authority / "server.pem"):
        shutil.chown(file, "postgres", "postgres")
    return authority


def etcd(host):
    folder = work / host / "etcd"
    address = DATABASES[host]
    members = ",".join(f"{name}=http://{at}:2380" for name, at in DATABASES.items())
    start(f"{host}.etcd", inside(
        host, "etcd", "--name", host, "--data-dir", str(folder), "--initial-cluster", members,
        "--initial-advertise-peer-urls", f"http://{address}:2380", "--listen-peer-urls", f"http://{address}:2380",
        "--listen-client-urls", f"http://{address}:2379", "--advertise-client-urls", f"http://{address}:2379",
        "--enable-v2=true", "--heartbeat-interval", "200", "--election-timeout", "2000"))


def patroni(host):
    start(f"{host}.patroni", inside(host, "patroni", str(work / host / "patroni.yaml")), {"HOME": str(work / host)}, "postgres")


def node(host, tls):
    folder = work / host
    folder.mkdir(exist_ok=True)
    text = (EXAMPLES / "patroni.yaml").read_text()
    for old, new in {
        "NODE": host, "ADDRESS": DATABASES[host], "LAN": f"{LAN}.0/24", "/etc/hallmark-cluster": str(tls),
        "/var/lib/postgresql/hallmark": str(folder / "data"), "/usr/lib/postgresql/15/bin": str(POSTGRES_BIN),
    }.items():
        text = text.replace(old, new)
    # The nodes share the file system of one machine.
    text = text.replace("\npostgresql:\n", f"\npostgresql:\n  parameters: {{unix_socket_directories: {folder}}}\n")
    (folder / "patroni.yaml").write_text(text)
    shutil.chown(folder, "postgres", "postgres")


def members():
    """Name, role and state of each node, by whichever answers."""
    for address in DATABASES.values():
        answer = get(f"http://{address}:8008/cluster")
        if answer:
            return {m["name"]: m for m in json.loads(answer)["members"]}
    return {}


def primary():
    for name, address in DATABASES.items():
        if get(f"http://{address}:8008/primary", 2) is not None:
            return name
    return None


def whole():
    """A primary, and a standby that every commit waits for."""
    roles = [m["role"] for m in members().values() if m["state"] in ("running", "streaming")]
    return roles.count("leader") == 1 and "sync_standby" in roles and len(roles) == 3


def sql(host, text):
    return run(*inside(host, str(POSTGRES_BIN / "psql"),
                       f"postgres://postgres:PASSWORD-1@{DATABASES[host]}/postgres?sslmode=require", "-Atc", text)).stdout


def environment(server):
    database = f"{LAN}.30" if server != "hm3" else ",".join(DATABASES.values())
    return {
        "HALLMARK_DATA": str(work / server), "HALLMARK_LISTEN": f"{SERVERS[server]}:8000", "HALLMARK_PUBLIC_URL": URL,
        "HALLMARK_TRUSTED_PROXIES": BALANCER["lb"], "HALLMARK_KEY_PASSPHRASE_FILE": str(work / "passphrase"),
        "HALLMARK_BLOBS_URL": f"file:{work}/blobs",
        # hm3 knows the three nodes, the others the address of HAProxy.
        "HALLMARK_DATABASE_URL": f"postgres://hallmark:secret-word@{database}/hallmark"
                                 f"?sslmode=verify-full&sslrootcert={work}/tls/ca.pem",
    }


def serve(server):
    (work / server).mkdir(exist_ok=True)
    start(server, inside(server, HALLMARK, "serve"), env=environment(server))


def ready(server):
    return get(f"http://{SERVERS[server]}:8000/readyz") is not None


ADMIN = {"HALLMARK_SERVER": URL, "HALLMARK_HOME": str(work / "home")}


def hallmark(*arguments, check=True, timeout=60):
    return run(*inside("lb", HALLMARK, *arguments), check=check, env={**os.environ, **ADMIN}, timeout=timeout)


def build():
    lan()
    tls = certificates()
    (work / "passphrase").write_text("a passphrase for tests only\n")
    (work / "password").write_text("a password for tests only\n")
    for name in ("passphrase", "password"):
        (work / name).chmod(0o600)
    for host in DATABASES:
        node(host, tls)
        etcd(host)
    for host in DATABASES:
        patroni(host)
    haproxy = work / "haproxy.cfg"
    haproxy.write_text((EXAMPLES / "haproxy.cfg").read_text())
    start("lb.haproxy", inside("lb", "haproxy", "-db", "-f", str(haproxy)))
    result("three database nodes find each other, one standby is synchronous", wait("the cluster", 90, whole))
    leader = primary()
    sql(leader, "CREATE ROLE hallmark LOGIN PASSWORD 'secret-word'")
    sql(leader, "CREATE DATABASE hallmark OWNER hallmark ENCODING 'UTF8' LOCALE 'C' TEMPLATE template0")
    (work / "hm1").mkdir()
    initialise = inside("hm1", HALLMARK, "init", "--brand", BRAND, "--admin-password-file", str(work / "password"))
    # HAProxy takes a moment to see the primary.
    result("the instance is made", wait("hallmark init", 30, lambda: run(
        *initialise, env={**os.environ, **environment("hm1")}, check=False).returncode == 0))
    for server in SERVERS:
        serve(server)
    # HAProxy asks each once a second.
    result("three processes serve", wait("three processes", 60, lambda: all(map(ready, SERVERS)) and get(f"{URL}/readyz") is not None))


def shop():
    """A model, a snap with two revisions, and production devices for a wave."""
    hallmark("login", "--server", URL, "--email", f"admin@{BRAND}.example", "--password-file", str(work / "password"))
    # One process of three is asked by itself later: a token is good for all of them.
    ADMIN["HALLMARK_TOKEN"] = hallmark("token", "create", "--for", "admin").stdout.strip()
    key = hallmark("model", "create", MODEL, "--format", "json").stdout
    key = json.loads(key)["api-key"]
    fleet = json.loads(hallmark("model", "create", "gate-2", "--production", "yes", "--tag", TAG, "--format", "json").stdout)["api-key"]
    for model in (MODEL, "gate-2"):
        headers = {
            "type": "model", "authority-id": BRAND, "series": "16", "brand-id": BRAND, "model": model,
            "architecture": "amd64", "classic": "true", "gadget": "pc",
            "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
        (work / "model.json").write_text(json.dumps(headers))
        hallmark("model", "sign", str(work / "model.json"))
    for version in (1, 2):
        tree = work / "tree" / "meta"
        tree.mkdir(parents=True, exist_ok=True)
        (tree / "snap.yaml").write_text(f"name: {SNAP}\nversion: '{version}'\nsummary: s\ndescription: d\nbase: core22\n")
        file = work / f"{SNAP}-{version}.snap"
        run("mksquashfs", str(tree.parent), str(file), "-noappend", "-all-root", "-comp", "xz", "-no-xattrs", "-quiet")
        hallmark("snap", "add", str(file), "--store", BRAND, "--publisher", BRAND)
    hallmark("snap", "release", SNAP, "1", "latest/stable")
    run(*inside("lb", HALLMARK, "bench", "load", "--server", URL, "--model", f"{BRAND}/gate-2", "--api-key", fleet,
                "--seconds", "5", "--concurrency", "0", "--keys", "1", "--prefix", "fleet", "--snap", SNAP, "--refreshing", "300"))
    hallmark("wave", "init", "june", "--tag", TAG, f"{SNAP}=2")
    return key


class Operator(threading.Thread):
    """Does one thing after the other with the command line, and remembers what was acknowledged."""

    def __init__(self, act):
        super().__init__(daemon=True)
        self.act, self.number, self.acknowledged, self.refused, self.goes_on = act, 0, [], 0, True

    def run(self):
        while self.goes_on:
            self.number += 1
            try:
                done = self.act(self.number)
            except subprocess.SubprocessError:
                done = None
            if done is None:
                self.refused += 1
            else:
                self.acknowledged.append(done)
            time.sleep(0.4)

    def stop(self):
        self.goes_on = False
        self.join(90)


def release(number):
    """Each on a branch of its own: all of them must be there at the end."""
    channel = f"latest/edge/turn-{number}"
    done = hallmark("snap", "release", SNAP, "2", channel, check=False, timeout=40)
    return channel if done.returncode == 0 else None


def rollout(_number):
    done = hallmark("wave", "rollout", "june", "--limit", "1", "--print-uuids", check=False, timeout=40)
    uuids = re.findall(r"[0-9a-f]{8}-[0-9a-f-]{27}", done.stdout)
    return uuids[0] if done.returncode == 0 and len(uuids) == 1 else None


# What goes wrong


def primary_dies():
    host = primary()
    kill_host(host)
    yield 25
    etcd(host)
    patroni(host)


def primary_is_cut_off():
    host = primary()
    cut(host)
    yield 28
    cut(host, False)


def standby_dies():
    host = next(name for name, member in members().items() if member["role"] == "sync_standby")
    kill_host(host)
    yield 8
    etcd(host)
    patroni(host)


def primary_stands_still():
    """Shorter than Patroni's `ttl`: nobody takes over, everything waits."""
    host = primary()
    pids = [pid for pid in run("ip", "netns", "pids", PREFIX + host).stdout.split()
            if pathlib.Path(f"/proc/{pid}/comm").read_text().strip() == "postgres"]
    for how in (signal.SIGSTOP, signal.SIGCONT):
        for pid in pids:
            try:
                os.kill(int(pid), how)
            except ProcessLookupError:
                pass
        if how == signal.SIGSTOP:
            yield 8


def switchover():
    run(*inside(primary(), "patronictl", "-c", str(work / "db1" / "patroni.yaml"), "switchover", "--force"))
    yield 6


def server_dies():
    server = random.choice(list(SERVERS))
    kill(server)
    yield 4
    serve(server)


def server_is_cut_off():
    server = random.choice(list(SERVERS))
    cut(server)
    yield 12
    cut(server, False)


def server_is_stopped():
    server = random.choice(list(SERVERS))
    kill(server, signal.SIGTERM)
    processes[server].wait(60)
    yield 1
    serve(server)


FAULTS = [
    server_dies, primary_dies, server_is_stopped, primary_is_cut_off, server_is_cut_off, standby_dies, switchover,
    primary_stands_still,
]


def under_faults(count):
    order = [FAULTS[n % len(FAULTS)] for n in range(count)]
    if count > len(FAULTS):
        random.shuffle(order)
    for number, fault in enumerate(order, 1):
        name = fault.__name__.replace("_", " ")
        say(f"fault {number}: {name}")
        for pause in fault():
            time.sleep(pause)
        healed = wait(f"healed after: {name}", 90, lambda: whole() and all(map(ready, SERVERS)))
        result(f"it heals by itself: {name}", healed)
        time.sleep(2)


def shown(server, *arguments):
    done = run(*inside("lb", HALLMARK, *arguments, "--format", "json"),
               env={**os.environ, **ADMIN, "HALLMARK_SERVER": f"http://{SERVERS[server]}:8000"}, timeout=60)
    return json.loads(done.stdout)


def verify(record, load, releases, rollouts):
    text, note = load.communicate()
    print(text + note, flush=True)
    result("the load ran to its end", load.returncode == 0)
    registrations = json.loads(text)[0]
    acknowledged = sum(1 for _ in open(record))
    say(f"acknowledged: {acknowledged} serials, {len(releases.acknowledged)} releases, {len(rollouts.acknowledged)} rollouts; "
        f"refused: {releases.refused} releases, {rollouts.refused} rollouts")
    result("there was load", acknowledged > 100 and len(releases.acknowledged) > 10 and len(rollouts.acknowledged) > 10)
    result(f"devices were never left alone for {SILENCE_LIMIT:.0f} s",
           registrations["longest-silence-ms"] < SILENCE_LIMIT * 1000, str(registrations["longest-silence-ms"]))
    held = run(*inside("lb", HALLMARK, "bench", "held", "--server", URL, str(record)), check=False)
    print(held.stdout + held.stderr, flush=True)
    result("every acknowledged serial is there, byte for byte, and no revision was given twice", held.returncode == 0)
    (work / "chosen").write_text("\n".join(rollouts.acknowledged) + "\n")
    for server in SERVERS:
        snap = json.dumps(shown(server, "snap", "show", SNAP))
        lost = [channel for channel in releases.acknowledged if f'"{channel}"' not in snap and channel.split("/", 2)[2] not in snap]
        result(f"{server} shows every acknowledged release", not lost, str(lost[:5]))
        # Who was chosen before is not chosen again: of these nobody may be left to choose.
        again = run(*inside("lb", HALLMARK, "wave", "rollout", "june", "--uuids", f"@{work}/chosen", "--dry-run", "--print-uuids"),
                    check=False, env={**os.environ, **ADMIN, "HALLMARK_SERVER": f"http://{SERVERS[server]}:8000"}, timeout=60)
        text = again.stdout + again.stderr
        lost = [uuid for uuid in rollouts.acknowledged if uuid in again.stdout]
        result(f"{server} knows every acknowledged rollout", not lost and ("nothing" in text or "0" in text), text[:300])
        chosen = sum(rollout["selected"] for rollout in shown(server, "wave", "show", "june")["rollouts"])
        result(f"{server} counts them", chosen >= len(rollouts.acknowledged), f"{chosen}, {len(rollouts.acknowledged)} acknowledged")
    doubled = len(rollouts.acknowledged) - len(set(rollouts.acknowledged))
    result("no device was rolled out to twice", doubled == 0, str(doubled))
    audit = hallmark("audit", "verify", check=False)
    result("the audit log is whole", audit.returncode == 0, audit.stdout + audit.stderr)
    for server in SERVERS:
        kill(server, signal.SIGTERM)
        processes[server].wait(60)
    doctor = run(*inside("hm1", HALLMARK, "doctor"), check=False, env={**os.environ, **environment("hm1")})
    result("doctor finds nothing wrong", doctor.returncode == 0, doctor.stdout + doctor.stderr)


def tidy():
    for host in HOSTS:
        if os.path.exists(f"/run/netns/{PREFIX}{host}"):
            kill_host(host)
    for host in [*HOSTS, "lan"]:
        run("ip", "netns", "del", PREFIX + host, check=False)


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else len(FAULTS)
    seed = int(os.environ.get("HALLMARK_CLUSTER_SEED", "0")) or random.randrange(1, 10**6)
    random.seed(seed)
    say(f"seed {seed} (HALLMARK_CLUSTER_SEED), logs below {work}")
    tidy()
    try:
        build()
        key = shop()
        record = work / "acknowledged"
        load = subprocess.Popen(
            inside("lb", HALLMARK, "bench", "load", "--server", URL, "--model", f"{BRAND}/{MODEL}", "--api-key", key,
                   "--seconds", "100000", "--concurrency", "4", "--keys", "2", "--snap", SNAP, "--refreshing", "2",
                   "--acknowledged", str(record), "--format", "json"),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        releases, rollouts = Operator(release), Operator(rollout)
        releases.start()
        rollouts.start()
        time.sleep(5)
        under_faults(count)
        for operator in (releases, rollouts):
            operator.stop()
        load.send_signal(signal.SIGINT)
        verify(record, load, releases, rollouts)
    except Exception as error:
        output = "".join(filter(None, (getattr(error, "stdout", ""), getattr(error, "stderr", ""))))
        result("the cluster is set up and tried", False, f"{error} {output}")
        raise
    finally:
        tidy()
        if failed and os.environ.get("HALLMARK_CI_CACHE"):
            kept = pathlib.Path(os.environ["HALLMARK_CI_CACHE"]) / "cluster-logs"
            shutil.rmtree(kept, ignore_errors=True)
            kept.mkdir(parents=True)
            for log in work.glob("*.log"):
                shutil.copy(log, kept)
            print(f"logs: {kept}")
        shutil.rmtree(work, ignore_errors=True)
    print(f"cluster: {passed} passed, {failed} failed, {time.monotonic() - began:.0f} s")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()

#!/usr/bin/python3
"""A disk that loses what was not synced: a FUSE file system kept in memory, made for tests.

    disk.py MOUNTPOINT STATE CONTROL

STATE is the file that holds what is on the disk between two runs; it is read at the start and written by `cut`. CONTROL
is a socket that takes one JSON object a line and answers with one.

What the model says of a disk, all of it allowed by POSIX and seen on real machines:
- What is written to a file is on the disk once fsync or fdatasync of that file has returned, not before. What was
  written before may be there in any part, by sectors of 512 or 4096 bytes, in any order, with or without the length.
- Names (create, rename, link, unlink, mkdir) are on the disk once fsync of their directory has returned. Before, each
  may be there or not; a rename is there as a whole or not at all. fsync of a file says nothing about its name.
- A failed fsync has lost track: of what it was to sync a random part is on the disk, the rest never will be, and a
  later fsync does not tell (as Linux behaves).
Not modelled: mode, owner and times are on the disk at once; mmap is refused for shared writing (direct I/O); sectors
that were synced stay good.

Commands: {"do": "cut", "seed": N, "how": "nothing|torn|length|everything|mixed"} takes the power away: the state is
written, and from then on every call fails. {"do": "fault", "calls": [...], "match": GLOB, "errno": NAME} makes calls
fail from now on, {"do": "heal"} ends that. {"do": "lie", "match": GLOB} makes syncs of such files and directories do
nothing. {"do": "delay", "seconds": S} makes syncs take up to S. {"do": "settle"} writes everything, as sync(2) does.
{"do": "look"} counts.
"""

import errno
import fnmatch
import json
import os
import pickle
import random
import stat
import sys
import time

import pyfuse3
import trio

# What can be made to fail: "length" is truncate, "change" is every change of names and of attributes; and "open", "lookup".
READS, WRITES, LENGTHS, SYNCS, CHANGES = "read", "write", "length", "fsync", "change"


class Node:
    """A file, directory, socket or symbolic link."""

    def __init__(self, ino, mode, ctx=None):
        self.ino, self.mode = ino, mode
        self.uid, self.gid = (ctx.uid, ctx.gid) if ctx else (0, 0)
        self.mtime = time.time_ns()
        self.target = b""
        self.where = ""
        self.links = 0
        self.lookups = 0
        # Files: what processes see, what is on the disk, and what was done since, in order.
        self.data, self.disk, self.pending = bytearray(), bytearray(), []
        # How many changes there were before the first of `pending`.
        self.base = 0
        # Directories: name to number, as processes see it and on the disk.
        self.names, self.disk_names = {}, {}

    @property
    def is_dir(self):
        return stat.S_ISDIR(self.mode)


def apply(content, change):
    """Does one change of a file: ("write", offset, bytes) or ("length", size)."""
    if change[0] == "write":
        _, offset, piece = change
        if len(content) < offset:
            content.extend(bytes(offset - len(content)))
        content[offset : offset + len(piece)] = piece
    else:
        size = change[1]
        if size < len(content):
            del content[size:]
        else:
            content.extend(bytes(size - len(content)))


def sectors(change, size):
    """The parts of a write that a disk keeps or loses as a whole."""
    _, offset, piece = change
    at = 0
    while at < len(piece):
        end = min(len(piece), at + size - (offset + at) % size)
        yield ("write", offset + at, piece[at:end])
        at = end


def torn(content, changes, dice, share):
    """Does a random part of `changes`."""
    size = dice.choice([512, 4096])
    for change in changes:
        if change[0] == "length":
            if dice.random() < share:
                apply(content, change)
            continue
        for part in sectors(change, size):
            if dice.random() < share:
                apply(content, part)


class Disk(pyfuse3.Operations):
    enable_writeback_cache = False

    def __init__(self, state):
        super().__init__()
        self.state = state
        self.nodes, self.next = {}, pyfuse3.ROOT_INODE + 1
        # Changes of names that are not on the disk, in order: lists of (directory, name, number or None).
        self.renamings = []
        self.faults, self.lies, self.delay = [], [], 0.0
        self.off = False
        self.counts = {"write": 0, "bytes": 0, "fsync": 0, "fsyncdir": 0, "failed": 0, "lied": 0}
        # Which sync fails how badly, and how long it takes: another every time.
        self.dice = random.Random()
        if os.path.exists(state):
            self.load()
        else:
            root = Node(pyfuse3.ROOT_INODE, stat.S_IFDIR | 0o755)
            root.links = 1
            self.nodes[root.ino] = root

    def load(self):
        with open(self.state, "rb") as file:
            saved, self.next = pickle.load(file)
        for ino, (mode, uid, gid, mtime, target, content, names) in saved.items():
            node = Node(ino, mode)
            node.uid, node.gid, node.mtime, node.target = uid, gid, mtime, target
            node.data, node.disk = bytearray(content), bytearray(content)
            node.names, node.disk_names = dict(names), dict(names)
            self.nodes[ino] = node
        self.nodes[pyfuse3.ROOT_INODE].links = 1
        for node in list(self.nodes.values()):
            for name, ino in node.names.items():
                self.nodes[ino].links += 1
        self.name_all(pyfuse3.ROOT_INODE, "")

    def name_all(self, ino, where):
        node = self.nodes[ino]
        node.where = where
        for name, child in node.names.items():
            self.name_all(child, f"{where}/{os.fsdecode(name)}".lstrip("/"))

    # The power goes

    def cut(self, seed, how):
        """Freezes the disk and writes down what is on it."""
        self.off = True
        dice = random.Random(seed)
        told = {"files": 0, "bytes": 0, "names": len(self.renamings)}
        for change in self.surviving(dice, how):
            self.rename_on_disk(change)
        saved, waiting = {}, [pyfuse3.ROOT_INODE]
        while waiting:
            ino = waiting.pop()
            if ino in saved:
                continue
            node = self.nodes[ino]
            content = self.outcome(node, dice, how)
            if node.pending:
                told["files"] += 1
                told["bytes"] += sum(len(change[2]) for change in node.pending if change[0] == "write")
            names = node.disk_names if node.is_dir else {}
            saved[ino] = (node.mode, node.uid, node.gid, node.mtime, node.target, bytes(content), dict(names))
            waiting.extend(names.values())
        part = self.state + ".part"
        with open(part, "wb") as file:
            pickle.dump((saved, self.next), file, protocol=pickle.HIGHEST_PROTOCOL)
        os.rename(part, self.state)
        return told

    def outcome(self, node, dice, how):
        """What is on the disk of a file's content."""
        content = node.disk
        if not node.pending:
            return content
        if how == "mixed":
            how = dice.choice(["nothing", "torn", "torn", "length", "everything"])
        content = bytearray(content)
        if how == "everything":
            for change in node.pending:
                apply(content, change)
        elif how == "torn":
            torn(content, node.pending, dice, dice.choice([0.1, 0.5, 0.9]))
        elif how == "length":
            apply(content, ("length", len(node.data)))
        return content

    def surviving(self, dice, how):
        """The changes of names that got to the disk."""
        if how in ("nothing", "everything"):
            return self.renamings if how == "everything" else []
        if dice.random() < 0.3:
            # A file system that writes its journal in order.
            return self.renamings[: dice.randint(0, len(self.renamings))]
        # One that keeps in order only what depends on each other: chains that share a name or a file.
        chains = []
        for change in self.renamings:
            touched = self.touched(change)
            chain = [change]
            rest = []
            for other, members in chains:
                if other & touched:
                    touched |= other
                    chain = members + chain
                else:
                    rest.append((other, members))
            chains = rest + [(touched, chain)]
        order = {id(change): place for place, change in enumerate(self.renamings)}
        kept = []
        for _, chain in chains:
            chain.sort(key=lambda change: order[id(change)])
            kept.extend(chain[: dice.randint(0, len(chain))])
        return sorted(kept, key=lambda change: order[id(change)])

    @staticmethod
    def touched(change):
        files = {("file", ino) for _, _, ino in change if ino is not None}
        return files | {("name", directory, name) for directory, name, _ in change}

    def rename_on_disk(self, change):
        for directory, name, ino in change:
            names = self.nodes[directory].disk_names
            if ino is None:
                names.pop(name, None)
            else:
                names[name] = ino

    # Trouble

    def check(self, call, node):
        if self.off:
            raise pyfuse3.FUSEError(errno.EIO)
        for fault in self.faults:
            if call in fault["calls"] and fnmatch.fnmatch(node.where, fault["match"]):
                self.counts["failed"] += 1
                return fault["errno"]
        return 0

    def fail(self, call, node):
        number = self.check(call, node)
        if number:
            raise pyfuse3.FUSEError(number)

    def lied_to(self, node):
        lied = any(fnmatch.fnmatch(node.where, match) for match in self.lies)
        self.counts["lied"] += lied
        return lied

    def child(self, parent, name):
        ino = self.nodes[parent].names.get(name)
        if ino is None:
            raise pyfuse3.FUSEError(errno.ENOENT)
        return self.nodes[ino]

    # Names

    def change(self, *steps):
        """Changes names as processes see them; together on the disk, or not at all."""
        for directory, name, ino in steps:
            node = self.nodes[directory]
            self.fail(CHANGES, node)
            node.mtime = time.time_ns()
        for directory, name, ino in steps:
            names = self.nodes[directory].names
            before = names.pop(name, None)
            if before is not None:
                self.nodes[before].links -= 1
            if ino is not None:
                names[name] = ino
                self.nodes[ino].links += 1
                self.name_all(ino, f"{self.nodes[directory].where}/{os.fsdecode(name)}".lstrip("/"))
        self.renamings.append(list(steps))

    def make(self, parent, name, mode, ctx):
        if name in self.nodes[parent].names:
            raise pyfuse3.FUSEError(errno.EEXIST)
        node = Node(self.next, mode, ctx)
        node.where = f"{self.nodes[parent].where}/{os.fsdecode(name)}".lstrip("/")
        self.fail(CHANGES, node)
        self.nodes[node.ino] = node
        try:
            self.change((parent, name, node.ino))
        except pyfuse3.FUSEError:
            del self.nodes[node.ino]
            raise
        self.next += 1
        return node

    def sync_names(self, directory):
        """All changes of names in a directory, and those they rest on."""
        wanted, kept, left = set(), [], []
        for change in reversed(self.renamings):
            touched = self.touched(change)
            if touched & wanted or any(place == directory for place, _, _ in change):
                wanted |= touched
                kept.append(change)
            else:
                left.append(change)
        for change in reversed(kept):
            self.rename_on_disk(change)
        self.renamings = left[::-1]

    # FUSE

    def attributes(self, node):
        entry = pyfuse3.EntryAttributes()
        entry.st_ino, entry.st_mode, entry.st_nlink = node.ino, node.mode, max(node.links, 0)
        entry.st_uid, entry.st_gid, entry.st_rdev = node.uid, node.gid, 0
        entry.st_size = len(node.target) if stat.S_ISLNK(node.mode) else len(node.data)
        entry.st_blksize, entry.st_blocks = 4096, (entry.st_size + 511) // 512
        entry.st_atime_ns = entry.st_mtime_ns = entry.st_ctime_ns = node.mtime
        entry.entry_timeout, entry.attr_timeout = 300, 0
        return entry

    def found(self, node):
        node.lookups += 1
        return self.attributes(node)

    async def lookup(self, parent, name, ctx=None):
        if name == b".":
            return self.found(self.nodes[parent])
        node = self.child(parent, name)
        self.fail("lookup", node)
        return self.found(node)

    async def forget(self, inodes):
        for ino, count in inodes:
            node = self.nodes.get(ino)
            if node is None:
                continue
            node.lookups -= count
            if node.lookups <= 0 and node.links <= 0 and not node.is_dir:
                # Nobody reads it again. On the disk its name may live on, with what was synced.
                node.base += len(node.pending)
                node.pending, node.data = [], bytearray()

    async def getattr(self, inode, ctx=None):
        return self.attributes(self.nodes[inode])

    async def setattr(self, inode, attr, fields, fh, ctx):
        node = self.nodes[inode]
        if fields.update_size:
            self.fail(LENGTHS, node)
            change = ("length", attr.st_size)
            apply(node.data, change)
            node.pending.append(change)
            node.mtime = time.time_ns()
        else:
            self.fail(CHANGES, node)
        if fields.update_mode:
            node.mode = stat.S_IFMT(node.mode) | stat.S_IMODE(attr.st_mode)
        if fields.update_uid:
            node.uid = attr.st_uid
        if fields.update_gid:
            node.gid = attr.st_gid
        if fields.update_mtime:
            node.mtime = attr.st_mtime_ns
        return self.attributes(node)

    async def mknod(self, parent, name, mode, rdev, ctx):
        return self.found(self.make(parent, name, mode, ctx))

    async def mkdir(self, parent, name, mode, ctx):
        return self.found(self.make(parent, name, stat.S_IFDIR | stat.S_IMODE(mode), ctx))

    async def symlink(self, parent, name, target, ctx):
        node = self.make(parent, name, stat.S_IFLNK | 0o777, ctx)
        node.target = target
        return self.found(node)

    async def readlink(self, inode, ctx):
        return self.nodes[inode].target

    async def link(self, inode, parent, name, ctx):
        if name in self.nodes[parent].names:
            raise pyfuse3.FUSEError(errno.EEXIST)
        self.change((parent, name, inode))
        return self.found(self.nodes[inode])

    async def unlink(self, parent, name, ctx):
        self.fail(CHANGES, self.child(parent, name))
        self.change((parent, name, None))

    async def rmdir(self, parent, name, ctx):
        if self.child(parent, name).names:
            raise pyfuse3.FUSEError(errno.ENOTEMPTY)
        self.change((parent, name, None))

    async def rename(self, old_parent, old_name, new_parent, new_name, flags, ctx):
        node = self.child(old_parent, old_name)
        there = self.nodes[new_parent].names.get(new_name)
        if there == node.ino:
            return
        if flags and there is not None:
            raise pyfuse3.FUSEError(errno.EEXIST)
        if there is not None and self.nodes[there].names:
            raise pyfuse3.FUSEError(errno.ENOTEMPTY)
        self.change((old_parent, old_name, None), (new_parent, new_name, node.ino))

    async def open(self, inode, flags, ctx):
        self.fail("open", self.nodes[inode])
        return pyfuse3.FileInfo(fh=inode, direct_io=True)

    async def create(self, parent, name, mode, flags, ctx):
        node = self.make(parent, name, stat.S_IFREG | stat.S_IMODE(mode), ctx)
        return pyfuse3.FileInfo(fh=node.ino, direct_io=True), self.found(node)

    async def read(self, fh, offset, size):
        node = self.nodes[fh]
        self.fail(READS, node)
        return bytes(node.data[offset : offset + size])

    async def write(self, fh, offset, piece):
        node = self.nodes[fh]
        change = ("write", offset, bytes(piece))
        number = self.check(WRITES, node)
        self.counts["write"] += 1
        self.counts["bytes"] += len(piece)
        if number:
            # What a failed write left is anybody's guess.
            kept = ("write", offset, bytes(piece[: self.dice.randint(0, len(piece))]))
            if kept[2] and number == errno.EIO:
                apply(node.data, kept)
                node.pending.append(kept)
            raise pyfuse3.FUSEError(number)
        apply(node.data, change)
        node.pending.append(change)
        node.mtime = time.time_ns()
        return len(piece)

    async def fsync(self, fh, datasync):
        node = self.nodes[fh]
        self.counts["fsync"] += 1
        until = node.base + len(node.pending)
        number = self.check(SYNCS, node)
        if number:
            lost = node.pending[: until - node.base]
            torn(node.disk, lost, self.dice, 0.5)
            node.pending, node.base = node.pending[len(lost) :], until
            raise pyfuse3.FUSEError(number)
        if self.delay:
            await trio.sleep(self.dice.random() * self.delay)
            if self.off:
                raise pyfuse3.FUSEError(errno.EIO)
        if self.lied_to(node):
            return
        done = max(0, until - node.base)
        for change in node.pending[:done]:
            apply(node.disk, change)
        node.pending = node.pending[done:]
        node.base += done

    async def fsyncdir(self, fh, datasync):
        node = self.nodes[fh]
        self.counts["fsyncdir"] += 1
        self.fail(SYNCS, node)
        if self.delay:
            # What comes while it runs it may take along.
            await trio.sleep(self.dice.random() * self.delay)
            if self.off:
                raise pyfuse3.FUSEError(errno.EIO)
        if not self.lied_to(node):
            self.sync_names(fh)

    async def flush(self, fh):
        pass

    async def release(self, fh):
        pass

    async def opendir(self, inode, ctx):
        self.fail("open", self.nodes[inode])
        return inode

    async def readdir(self, fh, start, token):
        names = sorted(self.nodes[fh].names.items(), key=lambda entry: entry[1])
        for name, ino in names:
            if ino > start:
                node = self.nodes[ino]
                # Two names of one file would share their place in the list; nobody here lists such a directory.
                if not pyfuse3.readdir_reply(token, name, self.found(node), ino):
                    node.lookups -= 1
                    return

    async def releasedir(self, fh):
        pass

    async def statfs(self, ctx):
        told = pyfuse3.StatvfsData()
        told.f_bsize = told.f_frsize = 4096
        told.f_blocks, told.f_bfree, told.f_bavail = 1 << 22, 1 << 21, 1 << 21
        told.f_files, told.f_ffree, told.f_favail = 1 << 20, 1 << 19, 1 << 19
        told.f_namemax = 255
        return told

    async def access(self, inode, mode, ctx):
        return True

    # Control

    def command(self, asked):
        do = asked["do"]
        if do == "cut":
            return self.cut(asked["seed"], asked["how"])
        if do == "fault":
            fault = {"calls": asked["calls"], "match": asked["match"], "errno": getattr(errno, asked["errno"])}
            self.faults.append(fault)
        elif do == "heal":
            self.faults.clear()
        elif do == "lie":
            self.lies.append(asked["match"])
        elif do == "settle":
            for change in self.renamings:
                self.rename_on_disk(change)
            self.renamings = []
            for node in self.nodes.values():
                for change in node.pending:
                    apply(node.disk, change)
                node.base += len(node.pending)
                node.pending = []
        elif do == "delay":
            self.delay = asked["seconds"]
        elif do != "look":
            raise ValueError(f"no such command: {do}")
        return dict(self.counts, pending=sum(len(node.pending) for node in self.nodes.values()))

    async def listen(self, path):
        socket = trio.socket.socket(trio.socket.AF_UNIX)
        await socket.bind(path)
        socket.listen()
        while True:
            peer, _ = await socket.accept()
            text = b""
            while not text.endswith(b"\n"):
                text += await peer.recv(65536)
            await peer.send(json.dumps(self.command(json.loads(text))).encode() + b"\n")
            peer.close()


async def main(mountpoint, state, control):
    disk = Disk(state)
    options = set(pyfuse3.default_options) | {"fsname=hallmark-faults"}
    pyfuse3.init(disk, mountpoint, options)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(disk.listen, control)
            await pyfuse3.main()
            nursery.cancel_scope.cancel()
    finally:
        pyfuse3.close(unmount=True)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit("usage: disk.py MOUNTPOINT STATE CONTROL")
    trio.run(main, *sys.argv[1:])

//! Small images, made in memory: for examples and tests. The same entries make the same bytes on every machine: owned
//! by root, all times zero, sorted, no fragments, gzip.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::superblock::{ABSENT, MAGIC, METADATA_BLOCK, SIZE};

const BLOCK: usize = 128 << 10;
const BLOCK_LOG: u16 = 17;
const GZIP: u16 = 1;
/// Images are padded to this, as loop devices like it.
const PADDING: usize = 4096;
/// No fragments, no extended attributes.
const FLAGS: u16 = 0x0010 | 0x0200;
const PLAIN_METADATA: u16 = 1 << 15;
const PLAIN_BLOCK: u32 = 1 << 24;
const LEVEL: u8 = 9;

/// Something to put into an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where it goes: names joined by `/`. Directories above it are made, with mode 0755, unless they are given.
    pub path: String,
    /// Permission bits, e.g. 0o644.
    pub mode: u16,
    /// What it is.
    pub content: Content,
}

/// What an [`Entry`] is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A file with these bytes.
    File(Vec<u8>),
    /// A directory.
    Directory,
    /// A symbolic link to this target.
    Link(String),
}

/// Why an image was not made.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// An entry cannot be put into an image.
    #[error("cannot put {path:?} into the image: {why}")]
    Entry {
        /// The entry.
        path: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// All of it together is too large for this writer.
    #[error("cannot make the image: it would be too large")]
    TooLarge,
    /// A directory cannot be read.
    #[error("cannot read {path}: {error}")]
    Read {
        /// The file or directory.
        path: String,
        /// What the system said.
        error: io::Error,
    },
}

/// A directory on its way into an image.
#[derive(Debug, Default)]
struct Folder {
    mode: Option<u16>,
    entries: BTreeMap<Vec<u8>, Node>,
}

#[derive(Debug)]
enum Node {
    Folder(Folder),
    File(u16, Vec<u8>),
    Link(String),
}

/// Makes an image.
///
/// # Errors
/// If two entries have the same path, a path is not made of plain names, or it all exceeds 4 GiB.
pub fn build(entries: impl IntoIterator<Item = Entry>) -> Result<Vec<u8>, BuildError> {
    let mut root = Folder::default();
    for entry in entries {
        let path = entry.path.clone();
        root.put(entry).map_err(|why| BuildError::Entry { path, why })?;
    }
    Writer::default().image(&root).ok_or(BuildError::TooLarge)
}

/// The files, directories and links below a directory, ordered by path, with their permission bits.
///
/// # Errors
/// If something cannot be read, is of another kind, or has a name that is not UTF-8.
pub fn entries_of(directory: &Path) -> Result<Vec<Entry>, BuildError> {
    let mut entries = Vec::new();
    collect(directory, "", &mut entries)?;
    entries.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    Ok(entries)
}

fn collect(directory: &Path, prefix: &str, entries: &mut Vec<Entry>) -> Result<(), BuildError> {
    let read = |path: &Path| {
        let path = path.display().to_string();
        move |error| BuildError::Read { path, error }
    };
    for found in directory.read_dir().map_err(read(directory))? {
        let found = found.map_err(read(directory))?;
        let file = found.path();
        let refuse = |why| BuildError::Entry {
            path: file.display().to_string(),
            why,
        };
        let name = found.file_name();
        let name = name.to_str().ok_or_else(|| refuse("its name is not UTF-8"))?;
        let path = format!("{prefix}{name}");
        let metadata = file.symlink_metadata().map_err(read(&file))?;
        let kind = metadata.file_type();
        let content = if kind.is_file() {
            Content::File(std::fs::read(&file).map_err(read(&file))?)
        } else if kind.is_dir() {
            collect(&file, &format!("{path}/"), entries)?;
            Content::Directory
        } else if kind.is_symlink() {
            let target = file.read_link().map_err(read(&file))?;
            let target = target.to_str().ok_or_else(|| refuse("its target is not UTF-8"))?;
            Content::Link(target.to_owned())
        } else {
            return Err(refuse("it is neither file, directory nor link"));
        };
        entries.push(Entry {
            path,
            mode: (metadata.permissions().mode() & 0o7777) as u16,
            content,
        });
    }
    Ok(())
}

impl Folder {
    fn put(&mut self, entry: Entry) -> Result<(), &'static str> {
        let mut folder = self;
        let (above, name) = match entry.path.rsplit_once('/') {
            Some((above, name)) => (above.split('/').collect(), name),
            None => (Vec::new(), entry.path.as_str()),
        };
        let plain =
            |name: &str| !matches!(name, "" | "." | "..") && name.len() <= 256 && !name.contains('\0');
        if !plain(name) || !above.iter().all(|name| plain(name)) {
            return Err("its path is not made of plain names");
        }
        if entry.mode > 0o7777 {
            return Err("its mode has more than permission bits");
        }
        for part in above {
            let next = folder
                .entries
                .entry(part.as_bytes().to_vec())
                .or_insert_with(|| Node::Folder(Self::default()));
            folder = match next {
                Node::Folder(folder) => folder,
                Node::File(..) | Node::Link(_) => return Err("something above it is no directory"),
            };
        }
        let node = match (entry.content, folder.entries.get_mut(name.as_bytes())) {
            // Made implicitly before.
            (Content::Directory, Some(Node::Folder(known))) if known.mode.is_none() => {
                known.mode = Some(entry.mode);
                return Ok(());
            }
            (_, Some(_)) => return Err("it is there twice"),
            (Content::Directory, None) => Node::Folder(Self {
                mode: Some(entry.mode),
                entries: BTreeMap::new(),
            }),
            (Content::File(bytes), None) => Node::File(entry.mode, bytes),
            (Content::Link(target), None) if target.is_empty() || target.len() > 4096 => {
                return Err("its target is empty or too long");
            }
            (Content::Link(target), None) => Node::Link(target),
        };
        folder.entries.insert(name.as_bytes().to_vec(), node);
        Ok(())
    }
}

/// A table of metadata under construction.
#[derive(Debug, Default)]
struct Table {
    done: Vec<u8>,
    open: Vec<u8>,
}

impl Table {
    /// Where the next byte will be: its block's place in the table, and its offset there.
    fn place(&self) -> Option<(u32, u16)> {
        Some((
            u32::try_from(self.done.len()).ok()?,
            u16::try_from(self.open.len()).ok()?,
        ))
    }

    fn put(&mut self, bytes: &[u8]) {
        self.open.extend_from_slice(bytes);
        while self.open.len() >= METADATA_BLOCK {
            let rest = self.open.split_off(METADATA_BLOCK);
            self.close_block();
            self.open = rest;
        }
    }

    fn close_block(&mut self) {
        let raw = std::mem::take(&mut self.open);
        if raw.is_empty() {
            return;
        }
        let compressed = miniz_oxide::deflate::compress_to_vec_zlib(&raw, LEVEL);
        // Both have at most 8 KiB, so the length fits.
        let (plain, data) = if compressed.len() < raw.len() {
            (0, compressed)
        } else {
            (PLAIN_METADATA, raw)
        };
        let head = plain | u16::try_from(data.len()).unwrap_or_default();
        self.done.extend_from_slice(&head.to_le_bytes());
        self.done.extend_from_slice(&data);
    }

    fn finish(mut self) -> Vec<u8> {
        self.close_block();
        self.done
    }
}

/// What the listing of a directory says of one of its entries.
struct Written {
    block: u32,
    offset: u16,
    number: u32,
    kind: u16,
}

const DIRECTORY: u16 = 1;
const FILE: u16 = 2;
const LINK: u16 = 3;

#[derive(Debug, Default)]
struct Writer {
    data: Vec<u8>,
    inodes: Table,
    directories: Table,
    count: u32,
}

impl Writer {
    /// The whole image. None where a number does not fit.
    fn image(mut self, root: &Folder) -> Option<Vec<u8>> {
        self.data.resize(usize::try_from(SIZE).ok()?, 0);
        let total = u32::try_from(count(root)).ok()?;
        let top = self.folder(root, total.checked_add(1)?)?;
        let mut image = self.data;
        let mut append = |bytes: &[u8]| {
            let at = image.len() as u64;
            image.extend_from_slice(bytes);
            at
        };
        let inodes = append(&self.inodes.finish());
        let directories = append(&self.directories.finish());
        // One owner: root.
        let mut ids = Table::default();
        ids.put(&0_u32.to_le_bytes());
        let owners = append(&ids.finish());
        let index = append(&owners.to_le_bytes());
        let end = image.len() as u64;

        let mut head = Vec::new();
        for number in [MAGIC, total, 0, u32::try_from(BLOCK).ok()?, 0] {
            head.extend_from_slice(&number.to_le_bytes());
        }
        for number in [GZIP, BLOCK_LOG, FLAGS, 1, 4, 0] {
            head.extend_from_slice(&number.to_le_bytes());
        }
        let root = u64::from(top.block) << 16 | u64::from(top.offset);
        // There are no fragments; readers take the place of their table for the end of the directories.
        for number in [root, end, index, ABSENT, inodes, directories, owners, ABSENT] {
            head.extend_from_slice(&number.to_le_bytes());
        }
        image.splice(..head.len(), head);
        image.resize(image.len().next_multiple_of(PADDING), 0);
        Some(image)
    }

    /// Begins an inode: kind, mode, owners, time and number.
    fn inode(&mut self, kind: u16, mode: u16) -> Option<Written> {
        self.count = self.count.checked_add(1)?;
        let (block, offset) = self.inodes.place()?;
        let mut head = Vec::new();
        for number in [kind, mode, 0, 0] {
            head.extend_from_slice(&number.to_le_bytes());
        }
        head.extend_from_slice(&0_u32.to_le_bytes());
        head.extend_from_slice(&self.count.to_le_bytes());
        self.inodes.put(&head);
        Some(Written {
            block,
            offset,
            number: self.count,
            kind,
        })
    }

    fn folder(&mut self, folder: &Folder, parent: u32) -> Option<Written> {
        // Entries come before their directory, so its number is known: one after all that are below it.
        let number = self.count.checked_add(u32::try_from(count(folder)).ok()?)?;
        let mut listed = Vec::new();
        let mut links = 2_u32;
        for (name, node) in &folder.entries {
            let written = match node {
                Node::Folder(folder) => {
                    links = links.checked_add(1)?;
                    self.folder(folder, number)?
                }
                Node::File(mode, bytes) => self.file(*mode, bytes)?,
                Node::Link(target) => {
                    let written = self.inode(LINK, 0o777)?;
                    self.inodes.put(&1_u32.to_le_bytes());
                    self.inodes.put(&u32::try_from(target.len()).ok()?.to_le_bytes());
                    self.inodes.put(target.as_bytes());
                    written
                }
            };
            listed.push((name.as_slice(), written));
        }
        let (listing_block, listing_offset) = self.directories.place()?;
        let listing = listing(&listed)?;
        self.directories.put(&listing);
        let len = u32::try_from(listing.len()).ok()?.checked_add(3)?;
        let mode = folder.mode.unwrap_or(0o755);
        let Ok(short) = u16::try_from(len) else {
            let written = self.inode(8, mode)?;
            for number in [links, len, listing_block, parent] {
                self.inodes.put(&number.to_le_bytes());
            }
            self.inodes.put(&0_u16.to_le_bytes()); // no index
            self.inodes.put(&listing_offset.to_le_bytes());
            self.inodes.put(&u32::MAX.to_le_bytes()); // no extended attributes
            return Some(Written {
                kind: DIRECTORY,
                ..written
            });
        };
        let written = self.inode(DIRECTORY, mode)?;
        self.inodes.put(&listing_block.to_le_bytes());
        self.inodes.put(&links.to_le_bytes());
        self.inodes.put(&short.to_le_bytes());
        self.inodes.put(&listing_offset.to_le_bytes());
        self.inodes.put(&parent.to_le_bytes());
        Some(written)
    }

    fn file(&mut self, mode: u16, bytes: &[u8]) -> Option<Written> {
        let start = u32::try_from(self.data.len()).ok()?;
        let mut sizes = Vec::new();
        for block in bytes.chunks(BLOCK) {
            let compressed = miniz_oxide::deflate::compress_to_vec_zlib(block, LEVEL);
            let (plain, data) = if compressed.len() < block.len() {
                (0, compressed.as_slice())
            } else {
                (PLAIN_BLOCK, block)
            };
            sizes.push(plain | u32::try_from(data.len()).ok()?);
            self.data.extend_from_slice(data);
        }
        let written = self.inode(FILE, mode)?;
        let none = u32::MAX; // no fragment
        for number in [start, none, 0, u32::try_from(bytes.len()).ok()?] {
            self.inodes.put(&number.to_le_bytes());
        }
        for size in sizes {
            self.inodes.put(&size.to_le_bytes());
        }
        Some(written)
    }
}

/// A directory and all that is in it.
fn count(folder: &Folder) -> usize {
    let below = |node: &Node| match node {
        Node::Folder(folder) => count(folder),
        Node::File(..) | Node::Link(_) => 1,
    };
    1 + folder.entries.values().map(below).sum::<usize>()
}

/// The listing of a directory: groups of up to 256 entries whose inodes share a block.
fn listing(entries: &[(&[u8], Written)]) -> Option<Vec<u8>> {
    let mut listing = Vec::new();
    let mut rest = entries;
    while let [(_, first), ..] = rest {
        let fits = |(_, written): &&(&[u8], Written)| {
            written.block == first.block
                && i16::try_from(i64::from(written.number) - i64::from(first.number)).is_ok()
        };
        let len = rest.iter().take(256).take_while(fits).count();
        let (group, later) = rest.split_at_checked(len)?;
        for number in [
            u32::try_from(len).ok()?.checked_sub(1)?,
            first.block,
            first.number,
        ] {
            listing.extend_from_slice(&number.to_le_bytes());
        }
        for (name, written) in group {
            let distance = i64::from(written.number) - i64::from(first.number);
            listing.extend_from_slice(&written.offset.to_le_bytes());
            listing.extend_from_slice(&i16::try_from(distance).ok()?.to_le_bytes());
            listing.extend_from_slice(&written.kind.to_le_bytes());
            listing.extend_from_slice(&u16::try_from(name.len().checked_sub(1)?).ok()?.to_le_bytes());
            listing.extend_from_slice(name);
        }
        rest = later;
    }
    Some(listing)
}

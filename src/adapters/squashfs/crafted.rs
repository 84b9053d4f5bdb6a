//! Images by hand, every byte of them chosen: for the tests of the reader, and for those that upload them.

/// Length of the superblock.
const SUPERBLOCK: usize = 96;
/// Longest piece of metadata.
const METADATA_BLOCK: usize = 8192;

pub(crate) const META: &[(&[u8], u16)] = &[(b"meta", 32)];
pub(crate) const YAML: &[(&[u8], u16)] = &[(b"snap.yaml", 64)];
pub(crate) const PLAIN: u32 = 1 << 24;

/// An image by hand: plain metadata, so that every byte of it can be chosen. Inodes and directories are a block each.
pub(crate) fn crafted(inodes: &[u8], directories: &[u8], data: &[u8], root: u64) -> Vec<u8> {
    let mut image = vec![0; SUPERBLOCK];
    image.extend_from_slice(data);
    let mut table = |bytes: &[u8]| {
        let at = image.len() as u64;
        for block in bytes.chunks(METADATA_BLOCK) {
            image.extend_from_slice(&(0x8000 | block.len() as u16).to_le_bytes());
            image.extend_from_slice(block);
        }
        at
    };
    let inodes = table(inodes);
    let directories = table(directories);
    let owners = table(&[0; 4]);
    let index = image.len() as u64;
    image.extend_from_slice(&owners.to_le_bytes());
    let end = image.len() as u64;
    let mut head = Vec::new();
    for number in [u32::from_le_bytes(*b"hsqs"), 3, 0, 4096, 0] {
        head.extend_from_slice(&number.to_le_bytes());
    }
    for number in [1_u16, 12, 0x210, 1, 4, 0] {
        head.extend_from_slice(&number.to_le_bytes());
    }
    for number in [root, end, index, u64::MAX, inodes, directories, owners, u64::MAX] {
        head.extend_from_slice(&number.to_le_bytes());
    }
    image[..head.len()].copy_from_slice(&head);
    image
}

/// Every inode here takes 32 bytes, or more at the end.
pub(crate) fn inode(kind: u16, fields: &[&[u8]]) -> Vec<u8> {
    let mut bytes = kind.to_le_bytes().to_vec();
    bytes.resize(16, 0);
    bytes.extend(fields.concat());
    bytes
}

pub(crate) fn directory(offset: u16, len: u16) -> Vec<u8> {
    inode(1, &[&[0; 8], &len.to_le_bytes(), &offset.to_le_bytes(), &[0; 4]])
}

pub(crate) fn group(entries: &[(&[u8], u16)]) -> Vec<u8> {
    let mut listing = (entries.len() as u32 - 1).to_le_bytes().to_vec();
    listing.resize(12, 0);
    for (name, offset) in entries {
        listing.extend_from_slice(&offset.to_le_bytes());
        listing.extend_from_slice(&[0, 0, 0, 0]);
        listing.extend_from_slice(&(name.len() as u16 - 1).to_le_bytes());
        listing.extend_from_slice(name);
    }
    listing
}

/// root (0) -> meta (32) -> snap.yaml (64), with the given listings and file.
pub(crate) fn tree(root: &[(&[u8], u16)], meta: &[(&[u8], u16)], file: &[u8]) -> Vec<u8> {
    let (root, meta) = (group(root), group(meta));
    let inodes = [
        directory(0, root.len() as u16 + 3),
        directory(root.len() as u16, meta.len() as u16 + 3),
        file.to_vec(),
    ]
    .concat();
    crafted(&inodes, &[root, meta].concat(), b"name: a1\n", 0)
}

pub(crate) fn small_file(start: u32, size: u32, blocks: &[u32]) -> Vec<u8> {
    let none = u32::MAX.to_le_bytes();
    let words: Vec<u8> = blocks.iter().flat_map(|word| word.to_le_bytes()).collect();
    inode(
        2,
        &[&start.to_le_bytes(), &none, &[0; 4], &size.to_le_bytes(), &words],
    )
}

/// So many zeros, compressed: more than a block may hold.
pub(crate) fn deflated(len: usize) -> Vec<u8> {
    miniz_oxide::deflate::compress_to_vec_zlib(&vec![0; len], 9)
}

/// An image whose snap.yaml is this compressed block, which should give 4 KiB.
pub(crate) fn with_block(packed: &[u8]) -> Vec<u8> {
    let mut image = tree(META, YAML, &small_file(96, 4096, &[packed.len() as u32]));
    image.splice(SUPERBLOCK..SUPERBLOCK, packed.iter().copied());
    for field in [40, 48, 64, 72, 80] {
        let at = u64::from_le_bytes(image[field..field + 8].try_into().unwrap());
        image[field..field + 8].copy_from_slice(&(at + packed.len() as u64).to_le_bytes());
    }
    image
}

/// An image whose inodes are this compressed piece, of at most 8 KiB.
pub(crate) fn with_metadata(packed: &[u8]) -> Vec<u8> {
    let mut image = crafted(packed, &group(META), b"", 0);
    let head = packed.len() as u16;
    image[SUPERBLOCK..SUPERBLOCK + 2].copy_from_slice(&head.to_le_bytes());
    image
}

/// An image whose root claims to go on for 4 GiB.
pub(crate) fn endless() -> Vec<u8> {
    let root = inode(8, &[&[0; 4], &u32::MAX.to_le_bytes(), &[0; 16]]);
    crafted(&root, &group(META), b"", 0)
}

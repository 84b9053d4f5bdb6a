//! Whether a delta keeps its own bounds (RFC 3284). The library reserves as much memory as a header, an instruction or a section
//! claims before it compares that with anything, so a few bytes could end the process; nothing reaches it unseen.

use oxidelta::vcdiff::header::{
    HARD_MAX_WINSIZE, VCD_ADLER32, VCD_APPHEADER, VCD_CODETABLE, VCD_INVHDR, VCD_INVWIN, VCD_SECONDARY,
    VCD_SOURCE, VCD_TARGET, VCDIFF_MAGIC,
};
use oxidelta::vcdiff::{Instruction, InstructionIterator, varint};

/// Takes processor time in the order of the delta, and no memory.
///
/// # Errors
/// Says what is wrong: reads as the end of a sentence.
pub(super) fn check(delta: &[u8], source: u64, limit: u64) -> Result<(), String> {
    let mut rest = Rest(delta);
    header(&mut rest)?;
    let mut total = 0;
    while !rest.0.is_empty() {
        total += window(&mut rest, source)?;
        if total > limit {
            return Err(format!("it leads to more than {limit} bytes"));
        }
    }
    Ok(())
}

fn header(rest: &mut Rest<'_>) -> Result<(), String> {
    if rest.take(VCDIFF_MAGIC.len() as u64)? != VCDIFF_MAGIC {
        return Err("it does not begin as one".to_owned());
    }
    let flags = rest.byte()?;
    // Code tables of one's own and flags that nobody knows.
    if flags & (VCD_INVHDR | VCD_CODETABLE) != 0 {
        return Err(format!("nobody knows its kind {flags:#04x}"));
    }
    // Names a compression; what uses it is refused below.
    if flags & VCD_SECONDARY != 0 {
        rest.byte()?;
    }
    if flags & VCD_APPHEADER != 0 {
        let length = rest.number()?;
        rest.take(length)?;
    }
    Ok(())
}

/// How many bytes the next window leads to.
fn window(rest: &mut Rest<'_>, source: u64) -> Result<u64, String> {
    let flags = rest.byte()?;
    if flags & (VCD_INVWIN | VCD_TARGET) != 0 {
        return Err(format!("it has a window of kind {flags:#04x}"));
    }
    let mut copied = 0;
    if flags & VCD_SOURCE != 0 {
        copied = rest.number()?;
        let begin = rest.number()?;
        if begin.checked_add(copied).is_none_or(|end| end > source) {
            return Err("it copies from behind the end of the file".to_owned());
        }
    }
    let encoded = rest.number()?;
    let mut encoding = Rest(rest.take(encoded)?);
    let target = encoding.number()?;
    if target > HARD_MAX_WINSIZE {
        return Err(format!("it has a window above {HARD_MAX_WINSIZE} bytes"));
    }
    if encoding.byte()? != 0 {
        return Err("it is compressed once more (make it with `xdelta3 -S none`)".to_owned());
    }
    let [data, instructions, addresses] = [encoding.number()?, encoding.number()?, encoding.number()?];
    if flags & VCD_ADLER32 != 0 {
        encoding.take(4)?;
    }
    let data = encoding.take(data)?.len() as u64;
    let instructions = encoding.take(instructions)?;
    let addresses = encoding.take(addresses)?;
    if !encoding.0.is_empty() {
        return Err("a window is longer than what is in it".to_owned());
    }
    let (mut made, mut added) = (0, 0);
    for instruction in InstructionIterator::new(instructions, addresses, copied) {
        // That addresses lie before the place they are copied to is looked at there.
        let length = match instruction.map_err(|error| error.to_string())? {
            Instruction::Add { len } => {
                added += u64::from(len);
                len
            }
            Instruction::Run { len } => {
                added += 1;
                len
            }
            Instruction::Copy { len, .. } => len,
        };
        made += u64::from(length);
        if made > target || added > data {
            return Err("its instructions lead to more than they may".to_owned());
        }
    }
    if made < target {
        return Err("its instructions lead to less than they should".to_owned());
    }
    Ok(target)
}

/// What is not read yet.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, length: u64) -> Result<&'a [u8], String> {
        let split = usize::try_from(length)
            .ok()
            .and_then(|at| self.0.split_at_checked(at));
        let (taken, rest) = split.ok_or("it breaks off")?;
        self.0 = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, String> {
        let taken = self.take(1)?;
        taken.first().copied().ok_or_else(|| "it breaks off".to_owned())
    }

    fn number(&mut self) -> Result<u64, String> {
        let (number, length) = varint::read_u64(self.0).map_err(|error| error.to_string())?;
        self.take(length as u64)?;
        Ok(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A window with one instruction section; sizes as they are claimed.
    fn delta(target: u32, instructions: &[u8], addresses: &[u8]) -> Vec<u8> {
        let number = |number: u32| {
            let mut bytes = Vec::new();
            varint::write_u64(&mut bytes, u64::from(number)).unwrap();
            bytes
        };
        let mut body = number(target);
        body.push(0);
        body.extend([
            1,
            u8::try_from(instructions.len()).unwrap(),
            u8::try_from(addresses.len()).unwrap(),
        ]);
        body.push(b'x');
        body.extend(instructions);
        body.extend(addresses);
        let mut delta = VCDIFF_MAGIC.to_vec();
        delta.extend([0, 0]);
        delta.extend(number(u32::try_from(body.len()).unwrap()));
        delta.extend(body);
        delta
    }

    #[test]
    fn who_claims_more_than_there_is_is_refused_before_memory_is_reserved() {
        let huge = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
        // A header of one's own that is not there.
        let mut header = [&VCDIFF_MAGIC[..], &[VCD_APPHEADER]].concat();
        header.extend(huge);
        assert_eq!(check(&header, 0, 1000).unwrap_err(), "it breaks off");
        // Sections that are not there.
        let section = [&VCDIFF_MAGIC[..], &[0, 0], &huge, &[5, 0], &huge, &[0, 0]].concat();
        assert_eq!(check(&section, 0, 1000).unwrap_err(), "it breaks off");
        // One byte 4 GiB times (0 = RUN, its size follows), and again and again.
        let run = [0, 0x8f, 0xff, 0xff, 0xff, 0x7f];
        for target in [5, 1 << 24] {
            let why = check(&delta(target, &run.repeat(10), &[]), 0, u64::MAX).unwrap_err();
            assert_eq!(why, "its instructions lead to more than they may");
        }
        // What was written is copied on and on (19 = COPY in mode 0, its size follows).
        let copy = [&[0, 1][..], &[19], &run[1..]].concat();
        let why = check(&delta(100, &copy, &[0]), 0, u64::MAX).unwrap_err();
        assert_eq!(why, "its instructions lead to more than they may");
        // A target above what the library or the caller takes.
        assert!(
            check(&delta(1 << 25, &[0, 1], &[]), 0, u64::MAX)
                .unwrap_err()
                .contains("16777216")
        );
        let good = delta(100, &[0, 100], &[]);
        assert_eq!(check(&good, 0, 100), Ok(()));
        assert_eq!(check(&good, 0, 99).unwrap_err(), "it leads to more than 99 bytes");
        // From behind what was written.
        assert!(check(&delta(5, &[20], &[3]), 0, 100).is_err());
    }
}

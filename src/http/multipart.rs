//! `multipart/form-data` (RFC 7578) as it comes in. One piece of the body is held at a time, whatever is in it; so a part
//! may be as large as its taker likes, and heads and what lies around the parts are bounded here.

use std::collections::VecDeque;
use std::fmt;

use bytes::{Bytes, BytesMut};
use futures_util::stream::BoxStream;
use futures_util::{StreamExt as _, stream};

use super::body::{BodyError, Pieces};
use super::fault::{Dialect, Fault};

/// Longest boundary (RFC 2046).
const MAX_BOUNDARY: usize = 70;
/// Most bytes of the head of a part.
const MAX_HEAD: usize = 16 * 1024;
/// Most bytes before the first part, and after the last one.
const MAX_AROUND: usize = 64 * 1024;
/// Most parts of one body.
const MAX_PARTS: usize = 300;

/// Why a form was not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MultipartError {
    /// It is no form.
    #[error("cannot read the form: {0}")]
    Malformed(&'static str),
    /// A part that is read whole is too large.
    #[error("cannot read the form: part {name:?} is larger than {limit} bytes")]
    TooLarge {
        /// The part.
        name: String,
        /// The limit.
        limit: usize,
    },
    /// The body itself did not come.
    #[error(transparent)]
    Body(#[from] BodyError),
}

impl<D: Dialect> From<MultipartError> for Fault<D> {
    fn from(error: MultipartError) -> Self {
        match error {
            MultipartError::Malformed(_) => Self::invalid("invalid-multipart", error),
            MultipartError::TooLarge { .. } => {
                Self::of(crate::app::Reason::TooLarge, "request-too-large", error)
            }
            MultipartError::Body(error) => error.into(),
        }
    }
}

/// The head of a part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The name of the field.
    pub name: String,
    /// The name of the file, as the client says it: never a path to be used.
    pub filename: Option<String>,
}

/// A form that is being read. Take a [`Part`] with [`Multipart::next`], then what is in it with [`Multipart::piece`].
pub struct Multipart {
    pieces: BoxStream<'static, Result<Bytes, BodyError>>,
    /// What came and was not given on.
    buffer: BytesMut,
    /// `\r\n--BOUNDARY`.
    delimiter: Vec<u8>,
    place: Place,
    parts: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Before,
    Within,
    Between,
    After,
}

impl fmt::Debug for Multipart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Multipart")
            .field("place", &self.place)
            .field("parts", &self.parts)
            .finish_non_exhaustive()
    }
}

impl Multipart {
    /// The form in a body of this content type.
    ///
    /// # Errors
    /// If it is not `multipart/form-data` with a boundary.
    pub fn new(pieces: Pieces, content_type: &str) -> Result<Self, MultipartError> {
        let pieces = stream::try_unfold(pieces, |mut pieces| async move {
            Ok(pieces.next().await?.map(|piece| (piece, pieces)))
        });
        Self::of(pieces.boxed(), content_type)
    }

    fn of(
        pieces: BoxStream<'static, Result<Bytes, BodyError>>,
        content_type: &str,
    ) -> Result<Self, MultipartError> {
        let boundary = boundary(content_type).ok_or(MultipartError::Malformed(
            "multipart/form-data with a boundary is expected",
        ))?;
        Ok(Self {
            pieces,
            // The first boundary has no line before it.
            buffer: BytesMut::from(&b"\r\n"[..]),
            delimiter: format!("\r\n--{boundary}").into_bytes(),
            place: Place::Before,
            parts: 0,
        })
    }

    /// The next part; what is left of the one before is passed over. None at the end of the form.
    ///
    /// # Errors
    /// If the form is malformed, ends early, or does not come.
    pub async fn next(&mut self) -> Result<Option<Part>, MultipartError> {
        match self.place {
            Place::Before => {
                let mut passed = 0;
                while let Some(piece) = self.until_delimiter().await? {
                    passed += piece.len();
                    if passed > MAX_AROUND {
                        return Err(MultipartError::Malformed("too much comes before the first part"));
                    }
                }
            }
            Place::Within => while self.piece().await?.is_some() {},
            Place::Between => {}
            Place::After => return Ok(None),
        }
        while self.buffer.len() < 2 {
            self.more().await?;
        }
        if self.buffer.starts_with(b"--") {
            self.place = Place::After;
            self.finish().await?;
            return Ok(None);
        }
        self.parts += 1;
        if self.parts > MAX_PARTS {
            return Err(MultipartError::Malformed("it has more than 300 parts"));
        }
        let head = self.head().await?;
        self.place = Place::Within;
        part(&head).map(Some)
    }

    /// The next piece of the part; none at its end.
    ///
    /// # Errors
    /// If the form ends early or does not come.
    pub async fn piece(&mut self) -> Result<Option<Bytes>, MultipartError> {
        if self.place != Place::Within {
            return Ok(None);
        }
        let piece = self.until_delimiter().await?;
        if piece.is_none() {
            self.place = Place::Between;
        }
        Ok(piece)
    }

    /// All of the part, at most `limit` bytes.
    ///
    /// # Errors
    /// As [`Self::piece`], and if it is larger.
    pub async fn whole(&mut self, part: &Part, limit: usize) -> Result<Bytes, MultipartError> {
        let mut whole = BytesMut::new();
        while let Some(piece) = self.piece().await? {
            if whole.len() + piece.len() > limit {
                return Err(MultipartError::TooLarge {
                    name: part.name.chars().take(64).collect(),
                    limit,
                });
            }
            whole.extend_from_slice(&piece);
        }
        Ok(whole.freeze())
    }

    /// What comes before the next delimiter, piece by piece; none once the delimiter is passed.
    async fn until_delimiter(&mut self) -> Result<Option<Bytes>, MultipartError> {
        loop {
            if let Some(at) = memchr::memmem::find(&self.buffer, &self.delimiter) {
                if at > 0 {
                    return Ok(Some(self.buffer.split_to(at).freeze()));
                }
                let _delimiter = self.buffer.split_to(self.delimiter.len());
                return Ok(None);
            }
            // The delimiter may begin in what is there.
            let sure = self.buffer.len().saturating_sub(self.delimiter.len() - 1);
            if sure > 0 {
                return Ok(Some(self.buffer.split_to(sure).freeze()));
            }
            self.more().await?;
        }
    }

    /// The lines after a delimiter, up to the empty one.
    async fn head(&mut self) -> Result<Bytes, MultipartError> {
        loop {
            if let Some(at) = memchr::memmem::find(&self.buffer, b"\r\n\r\n") {
                if at > MAX_HEAD {
                    return Err(MultipartError::Malformed("the head of a part is too long"));
                }
                return Ok(self.buffer.split_to(at + 4).freeze());
            }
            if self.buffer.len() > MAX_HEAD {
                return Err(MultipartError::Malformed("the head of a part is too long"));
            }
            self.more().await?;
        }
    }

    /// Reads what comes after the last part, so that the body is known to be whole.
    async fn finish(&mut self) -> Result<(), MultipartError> {
        let mut passed = self.buffer.len();
        loop {
            if passed > MAX_AROUND {
                return Err(MultipartError::Malformed("too much comes after the last part"));
            }
            match self.pieces.next().await {
                Some(piece) => passed += piece?.len(),
                None => return Ok(()),
            }
        }
    }

    async fn more(&mut self) -> Result<(), MultipartError> {
        match self.pieces.next().await {
            Some(piece) => self.buffer.extend_from_slice(&piece?),
            None => return Err(MultipartError::Malformed("it ends before its last part does")),
        }
        Ok(())
    }
}

/// The boundary a content type names.
fn boundary(content_type: &str) -> Option<String> {
    let mut parameters = parameters(content_type);
    let kind = parameters.pop_front()?.0;
    if kind != "multipart/form-data" {
        return None;
    }
    let (_, boundary) = parameters.into_iter().find(|(name, _)| name == "boundary")?;
    let fits = (1..=MAX_BOUNDARY).contains(&boundary.len())
        && boundary
            .bytes()
            .all(|byte| byte.is_ascii_graphic() || byte == b' ');
    fits.then_some(boundary)
}

fn part(head: &[u8]) -> Result<Part, MultipartError> {
    let malformed = MultipartError::Malformed("a part does not say its name");
    // Spaces after the boundary, and the end of its line.
    let head = String::from_utf8_lossy(head);
    let Some((padding, lines)) = head.split_once("\r\n") else {
        return Err(malformed);
    };
    if !padding.bytes().all(|byte| byte == b' ' || byte == b'\t') {
        return Err(MultipartError::Malformed("a boundary is followed by something"));
    }
    let disposition = lines.split("\r\n").find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.trim()
            .eq_ignore_ascii_case("content-disposition")
            .then_some(value)
    });
    let mut parameters = parameters(disposition.unwrap_or_default());
    if parameters.pop_front().is_none_or(|(kind, _)| kind != "form-data") {
        return Err(malformed);
    }
    let mut take = |wanted: &str| {
        let at = parameters.iter().position(|(name, _)| name == wanted)?;
        parameters.remove(at).map(|(_, value)| value)
    };
    Ok(Part {
        name: take("name").ok_or(malformed)?,
        filename: take("filename"),
    })
}

/// `kind; name=value; name="value"`: the kind first, without a value. Names come out in lower case.
fn parameters(text: &str) -> VecDeque<(String, String)> {
    let mut found = VecDeque::new();
    let (kind, mut rest) = text.split_once(';').unwrap_or((text, ""));
    found.push_back((kind.trim().to_ascii_lowercase(), String::new()));
    while let Some((name, value)) = rest.split_once('=') {
        let name = name.trim().trim_start_matches(';').trim().to_ascii_lowercase();
        let value = value.trim_start();
        let (value, after) = match value.strip_prefix('"') {
            Some(quoted) => unquote(quoted),
            None => {
                let (value, after) = value.split_once(';').unwrap_or((value, ""));
                (value.trim_end().to_owned(), after)
            }
        };
        found.push_back((name, value));
        rest = after;
    }
    found
}

/// The text up to the closing quote, and what comes after it. A backslash only stands before a quote or another one:
/// some browsers send paths as they are.
fn unquote(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut letters = text.char_indices().peekable();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return (value, text.get(at + 1..).unwrap_or_default()),
            '\\' if matches!(letters.peek(), Some((_, '"' | '\\'))) => {
                value.extend(letters.next().map(|(_, letter)| letter));
            }
            letter => value.push(letter),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What is read of `body` when it comes in pieces of this size: parts with their contents.
    fn read(body: &[u8], piece: usize) -> Result<Vec<(Part, Vec<u8>)>, MultipartError> {
        let pieces: Vec<Result<Bytes, BodyError>> = body
            .chunks(piece.max(1))
            .map(|piece| Ok(Bytes::copy_from_slice(piece)))
            .collect();
        let mut form = Multipart::of(stream::iter(pieces).boxed(), "multipart/form-data; boundary=B")?;
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut parts = Vec::new();
            while let Some(part) = form.next().await? {
                let mut content = Vec::new();
                while let Some(piece) = form.piece().await? {
                    assert!(!piece.is_empty());
                    content.extend_from_slice(&piece);
                }
                parts.push((part, content));
            }
            assert!(form.next().await?.is_none());
            Ok(parts)
        })
    }

    fn named(name: &str, content: &[u8]) -> Vec<u8> {
        let head = format!("Content-Disposition: form-data; name=\"{name}\"; filename=\"a\"\r\n\r\n");
        [b"\r\n--B\r\n", head.as_bytes(), content].concat()
    }

    #[test]
    fn what_clients_send_is_read() {
        let body = b"--B\r\nContent-Disposition: form-data; name=\"info\"\r\n\r\n[]\r\n--B\r\n\
                     content-disposition: form-data; name=\"icon\"; filename=\"/home/u/a \\\"b\\\".png\"\r\n\
                     Content-Type: image/png\r\n\r\n\x89PNG\r\n--not it\r\n--B--\r\n";
        for piece in 1..80 {
            let parts = read(body, piece).unwrap();
            assert_eq!(parts.len(), 2);
            assert_eq!(
                (parts[0].0.name.as_str(), parts[0].1.as_slice()),
                ("info", &b"[]"[..])
            );
            assert_eq!(parts[1].0.filename.as_deref(), Some("/home/u/a \"b\".png"));
            assert_eq!(parts[1].1, b"\x89PNG\r\n--not it");
        }
    }

    #[test]
    fn what_is_no_whole_form_is_refused() {
        let whole = [named("x", b"content").as_slice(), b"\r\n--B--\r\n"].concat();
        // Cut short anywhere before the last boundary is whole.
        for end in 0..whole.len() - 4 {
            assert!(read(&whole[..end], 7).is_err(), "{end}");
        }
        assert!(read(&whole, 7).is_ok());
        let around = vec![b'x'; MAX_AROUND + 1];
        for bad in [
            [around.as_slice(), &whole].concat(),
            [whole.as_slice(), &around].concat(),
            b"--B\r\n\r\n\r\nx\r\n--B--".to_vec(),
            b"--B\r\nContent-Disposition: form-data\r\n\r\nx\r\n--B--".to_vec(),
            b"--B\r\nContent-Disposition: attachment; name=x\r\n\r\nx\r\n--B--".to_vec(),
            b"--Bx\r\nContent-Disposition: form-data; name=x\r\n\r\nx\r\n--B--".to_vec(),
        ] {
            assert!(read(&bad, 1000).is_err(), "{:?}", bad.get(..80));
        }
    }

    #[test]
    fn forms_have_so_many_parts_with_heads_so_long() {
        let of_parts = |count| {
            let parts = std::iter::repeat_n(named("x", b""), count).flatten();
            parts.chain(*b"\r\n--B--\r\n").collect::<Vec<u8>>()
        };
        let with_head = |length: usize| {
            let disposition = b"Content-Disposition: form-data; name=x; filename=".as_slice();
            let filename = vec![b'f'; length - disposition.len()];
            [
                b"--B\r\n",
                disposition,
                &filename,
                b"\r\n\r\ncontent\r\n--B--\r\n",
            ]
            .concat()
        };
        assert_eq!(read(&of_parts(MAX_PARTS), 1000).unwrap().len(), MAX_PARTS);
        let error = read(&of_parts(MAX_PARTS + 1), 1000).unwrap_err();
        assert!(error.to_string().contains("parts"), "{error}");
        assert_eq!(read(&with_head(MAX_HEAD / 2), 1000).unwrap().len(), 1);
        let error = read(&with_head(MAX_HEAD + 10), 1000).unwrap_err();
        assert!(error.to_string().contains("head"), "{error}");
    }

    #[test]
    fn only_forms_with_a_boundary_are_forms() {
        for (text, expected) in [
            ("multipart/form-data; boundary=abc", Some("abc")),
            ("Multipart/Form-Data; charset=x; Boundary=\"a b\"", Some("a b")),
            ("multipart/form-data", None),
            ("multipart/form-data; boundary=", None),
            ("multipart/mixed; boundary=abc", None),
            ("application/json", None),
            ("", None),
            ("multipart/form-data; boundary=\"\u{1}\"", None),
        ] {
            assert_eq!(boundary(text).as_deref(), expected, "{text}");
        }
        assert_eq!(
            boundary(&format!("multipart/form-data; boundary={}", "a".repeat(71))),
            None
        );
    }

    proptest! {
        /// Whatever is in the parts and however it is cut: what was sent is what is read.
        #[test]
        fn parts_come_out_as_they_went_in(
            contents in proptest::collection::vec(proptest::collection::vec(
                prop::sample::select(vec![b'\r', b'\n', b'-', b'B', b'x']), 0..40), 1..4),
            piece in 1usize..50,
        ) {
            let delimiter = b"\r\n--B";
            prop_assume!(contents.iter().all(|content| memchr::memmem::find(content, delimiter).is_none()));
            // What ends like the beginning of a delimiter joins with the real one; that must not confuse either.
            let mut body = Vec::new();
            for (number, content) in contents.iter().enumerate() {
                body.extend(named(&number.to_string(), content));
            }
            body.extend_from_slice(b"\r\n--B--\r\n");
            let read = read(&body[2..], piece).unwrap();
            let read: Vec<Vec<u8>> = read.into_iter().map(|(_, content)| content).collect();
            prop_assert_eq!(read, contents);
        }
    }
}

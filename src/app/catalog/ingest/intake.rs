//! Files on their way in: the body of one upload, cut into its parts while it arrives, never held as a whole.

use bytes::Bytes;

use crate::app::{App, Reason, Refusal};
use crate::ports::{Staged, Staging};

/// Most component files one upload brings.
pub const MAX_COMPONENTS: usize = 100;

/// An upload that is still arriving. Dropping it forgets what has come.
#[derive(Debug)]
pub struct Intake {
    app: App,
    /// The lengths of the parts that are still to come after this one.
    coming: std::vec::IntoIter<u64>,
    /// The part that is arriving, and what it still lacks.
    now: Option<(Box<dyn Staging>, Room)>,
    done: Vec<Box<dyn Staged>>,
}

/// How much a part still takes.
#[derive(Clone, Copy, Debug)]
enum Room {
    /// Exactly this many bytes.
    Exactly(u64),
    /// At most this many bytes.
    AtMost(u64),
}

impl Room {
    fn left(self) -> u64 {
        match self {
            Self::Exactly(left) | Self::AtMost(left) => left,
        }
    }

    fn after(self, taken: u64) -> Self {
        match self {
            Self::Exactly(left) => Self::Exactly(left.saturating_sub(taken)),
            Self::AtMost(left) => Self::AtMost(left.saturating_sub(taken)),
        }
    }
}

impl Intake {
    /// An upload of files with these lengths, one after the other: the snap, then its components. Without lengths all
    /// of it is the snap.
    ///
    /// # Errors
    /// `snap-too-large` where a file is larger than the setting `snap-limit`, `too-many-components`.
    pub async fn begin(app: &App, parts: Vec<u64>) -> Result<Self, Refusal> {
        let limit = app.settings.limits.snap;
        if parts.iter().any(|length| *length > limit) {
            return Err(too_large(limit));
        }
        if parts.len() > MAX_COMPONENTS + 1 {
            return Err(too_many_components());
        }
        let mut coming = parts.into_iter();
        let first = coming.next().map_or(Room::AtMost(limit), Room::Exactly);
        let mut intake = Self {
            app: app.clone(),
            coming,
            now: Some((app.blobs.stage().await?, first)),
            done: Vec::new(),
        };
        intake.step().await?;
        Ok(intake)
    }

    /// Takes the next piece of the body.
    ///
    /// # Errors
    /// `snap-too-large`, `upload-length` where more comes than was announced, and trouble of the storage.
    pub async fn write(&mut self, mut piece: Bytes) -> Result<(), Refusal> {
        while !piece.is_empty() {
            let Some((mut staging, room)) = self.now.take() else {
                return Err(wrong_length("longer"));
            };
            let left = usize::try_from(room.left()).unwrap_or(usize::MAX);
            let part = piece.split_to(piece.len().min(left));
            if part.is_empty() {
                return Err(too_large(self.app.settings.limits.snap));
            }
            let room = room.after(part.len() as u64);
            staging.write(part).await?;
            self.now = Some((staging, room));
            self.step().await?;
        }
        Ok(())
    }

    /// Goes on to the next part while the one that is arriving is complete.
    async fn step(&mut self) -> Result<(), Refusal> {
        while let Some((_, Room::Exactly(0))) = &self.now {
            if let Some((staging, _)) = self.now.take() {
                self.done.push(staging.finish().await?);
            }
            if let Some(length) = self.coming.next() {
                self.now = Some((self.app.blobs.stage().await?, Room::Exactly(length)));
            }
        }
        Ok(())
    }

    /// The files, after the last piece.
    ///
    /// # Errors
    /// `upload-length` where less came than was announced.
    pub async fn finish(mut self) -> Result<Vec<Box<dyn Staged>>, Refusal> {
        match self.now.take() {
            Some((_, Room::Exactly(_))) => Err(wrong_length("shorter")),
            Some((staging, Room::AtMost(_))) => {
                self.done.push(staging.finish().await?);
                Ok(self.done)
            }
            None => Ok(self.done),
        }
    }
}

pub(in crate::app::catalog) fn too_large(limit: u64) -> Refusal {
    Refusal::new(
        Reason::TooLarge,
        "snap-too-large",
        format!("cannot take the file: it is larger than {limit} bytes (setting snap-limit)"),
    )
}

pub(in crate::app::catalog) fn too_many_components() -> Refusal {
    Refusal::invalid(
        "too-many-components",
        format!("cannot take the upload: it brings more than {MAX_COMPONENTS} components"),
    )
}

fn wrong_length(how: &str) -> Refusal {
    Refusal::invalid(
        "upload-length",
        format!("cannot take the upload: it is {how} than its parts together"),
    )
}

//! Making deltas between files.

/// Makes and checks deltas in one format.
pub trait Deltas: std::fmt::Debug + Send + Sync {
    /// The format as clients name it in `Snap-Accept-Delta-Format`.
    fn format(&self) -> &'static str;

    /// What makes `target` out of `source`. Checked: applied to `source` it gives `target` again. Takes processor time
    /// and memory in the order of both files together.
    ///
    /// # Errors
    /// Says why there is none.
    fn make(&self, source: &[u8], target: &[u8]) -> Result<Vec<u8>, String>;

    /// What `delta` makes of `source`, at most `limit` bytes. Takes memory in the order of both files together.
    ///
    /// # Errors
    /// Says why there is none: reads as the end of a sentence.
    fn apply(&self, source: &[u8], delta: &[u8], limit: u64) -> Result<Vec<u8>, String>;
}

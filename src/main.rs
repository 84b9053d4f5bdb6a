//! hallmark
fn main() {}

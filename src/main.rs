//! hallmark
fn main(){}

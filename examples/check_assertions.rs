//! Checks a stream of assertions against a root of trust, in order, as a device does.
//!
//!     cargo run --example check_assertions -- ROOT FILE...
//!
//! ROOT holds the account and account-key that are trusted (`hallmark trust export`), the files what rests on them.
#![allow(clippy::print_stdout, reason = "an example prints its result")]

use hallmark::adapters::system::SystemClock;
use hallmark::domain::assertion::StreamDecoder;
use hallmark::domain::assertion::database::{Database, MemoryBackstore};
use hallmark::ports::Clock as _;

fn main() -> anyhow::Result<()> {
    let mut files = std::env::args().skip(1);
    let root = files
        .next()
        .ok_or_else(|| anyhow::anyhow!("usage: check_assertions ROOT FILE..."))?;
    let trusted = StreamDecoder::new(std::fs::read(root)?.into()).collect::<Result<Vec<_>, _>>()?;
    let mut database = Database::new(trusted, [], MemoryBackstore::default())?;
    let now = SystemClock.now();

    let mut refused = 0;
    for file in files {
        for assertion in StreamDecoder::new(std::fs::read(&file)?.into()) {
            let assertion = assertion?;
            let what = assertion.reference();
            match database.add(assertion, now) {
                Ok(_added) => println!("ok       {what}"),
                Err(error) => {
                    refused += 1;
                    println!("refused  {what}: {error}");
                }
            }
        }
    }
    anyhow::ensure!(refused == 0, "{refused} assertions were refused");
    Ok(())
}

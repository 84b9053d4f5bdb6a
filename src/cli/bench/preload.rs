//! Fills the ledger with earlier serials, so that the second measurement meets a fleet that is there already.

use std::ops::Range;
use std::path::Path;

use anyhow::{Context as _, bail};
use bytes::Bytes;

use crate::adapters::sled::{Sled, SledOptions};
use crate::domain::ident::BrandId;
use crate::domain::time::Timestamp;
use crate::domain::vault::{SerialRow, SerialState};
use crate::ports::{SerialFilter, SerialLedger as _, Storage as _};

/// Rows written at a time.
const CHUNK: usize = 1000;

/// Adds serials with these numbers to the database of a stopped server: copies of the last issued one, each with a
/// serial of its own. Their signatures are canned: nobody verifies them again, and making a million real ones takes an hour.
pub(super) async fn load(database: &Path, brand: &str, numbers: Range<usize>) -> anyhow::Result<()> {
    let storage = Sled::open(&SledOptions::new(database))?;
    let brand: BrandId = brand.parse()?;
    let filter = SerialFilter {
        brand,
        models: Vec::new(),
        serial_prefix: None,
        device_key: None,
        since: None,
        until: None,
        before: None,
        limit: 1,
    };
    let rows = storage.serials(&filter).await?;
    let Some(pattern) = rows.first().filter(|row| row.state == SerialState::Issued) else {
        bail!("cannot write earlier serials: none was issued yet");
    };
    let text = std::str::from_utf8(&pattern.assertion).context("cannot read a serial")?;
    let header = format!("\nserial: {}\n", pattern.device.serial);
    for start in numbers.clone().step_by(CHUNK) {
        let chunk = (start..numbers.end.min(start + CHUNK)).map(|number| {
            let mut device = pattern.device.clone();
            device.serial = format!("earlier-{number:08}").parse()?;
            let assertion = text.replacen(&header, &format!("\nserial: {}\n", device.serial), 1);
            Ok(SerialRow {
                position: 0,
                device,
                revision: 1,
                device_key: pattern.device_key.clone(),
                sign_key: pattern.sign_key.clone(),
                created_at: Timestamp::from_unix(pattern.created_at.unix()),
                state: SerialState::Issued,
                assertion: Bytes::from(assertion),
            })
        });
        storage.load(chunk.collect::<anyhow::Result<Vec<_>>>()?).await?;
    }
    storage.close().await?;
    // Gigabytes that are still on their way to the disk would slow what is measured next.
    rustix::fs::sync();
    Ok(())
}

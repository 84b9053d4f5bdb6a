//! What a device said of itself when it last asked for refreshes.

use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};

use crate::domain::fleet::Progress;
use crate::domain::ident::{Architecture, DeviceId, SnapId, WaveName};
use crate::domain::numbers::Counted;
use crate::domain::time::Timestamp;

/// The last report of a device. The device counts as seen when it asks, also where it says nothing of its snaps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct DeviceReport {
    /// The device.
    #[serde(flatten)]
    pub device: DeviceId,
    /// The store of its model.
    pub store: Option<String>,
    /// Its architecture.
    pub architecture: Architecture,
    /// The client it runs, as that names itself.
    pub client: Option<String>,
    /// What it has installed.
    pub snaps: Vec<ReportedSnap>,
    /// When it last asked.
    pub seen: Timestamp,
    /// When it last said what it has, as far as that is known: words that say nothing new are not all written down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heard: Option<Timestamp>,
    /// Revisions it came back from by itself: they are not offered again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reverted: Vec<(SnapId, u64)>,
    /// How it takes the wave it was shown last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wave: Option<WaveReport>,
    /// As what it was counted last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counted: Option<Counted>,
}

/// How a device takes a wave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct WaveReport {
    /// Which wave.
    pub wave: WaveName,
    /// What is known.
    pub progress: Progress,
}

/// A snap on a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ReportedSnap {
    /// The snap.
    pub snap_id: String,
    /// Which of several instances, where it is not the only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// What is installed; 0 = not from a store.
    pub revision: u64,
    /// What it follows.
    pub channel: Option<String>,
    /// Whether its owner holds it back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub held: bool,
}

/// The uuid of a device: always the same for the same brand, model and serial, on every instance (RFC 9562, version 8:
/// the first bytes of the SHA-256 of the three).
pub fn device_uuid(device: &DeviceId) -> uuid::Uuid {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in [
        "hallmark device",
        device.brand.as_str(),
        device.model.as_str(),
        device.serial.as_str(),
    ] {
        context.update(part.as_bytes());
        context.update(b"\0");
    }
    let bytes = context.finish();
    let first = bytes.as_ref().first_chunk::<16>();
    uuid::Builder::from_custom_bytes(first.copied().unwrap_or_default()).into_uuid()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_has_one_uuid() {
        let device = |serial: &str| DeviceId {
            brand: "acme".parse().unwrap(),
            model: "gate".parse().unwrap(),
            serial: serial.parse().unwrap(),
        };
        assert_eq!(device_uuid(&device("1")), device_uuid(&device("1")));
        assert_ne!(device_uuid(&device("1")), device_uuid(&device("2")));
        assert_eq!(device_uuid(&device("1")).get_version_num(), 8);
    }
}

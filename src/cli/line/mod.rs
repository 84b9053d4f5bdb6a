//! A factory line of simulated devices: what a real device sends at first boot, over real HTTP. Used by `quickstart`
//! and `bench`.

mod device;
mod station;

pub use device::{Device, DeviceKey};
pub use station::{LineError, Station};

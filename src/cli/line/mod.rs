//! A factory line of simulated devices: what a real device sends at first boot, over real HTTP, to a real
//! server process where one is wanted; and a publisher who brings it snaps. Used by `quickstart`, `bench` and the tests.

mod device;
mod process;
mod publisher;
mod station;

pub use device::{Device, DeviceKey};
pub use process::{Instance, Server, cpu_of};
pub use publisher::Publisher;
pub use station::{LineError, Station};

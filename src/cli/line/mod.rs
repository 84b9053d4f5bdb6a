//! A factory line of simulated devices: what a real device sends at first boot, over real HTTP, to a real
//! server process where one is wanted. Used by `quickstart`, `bench` and the tests.

mod device;
mod process;
mod station;

pub use device::{Device, DeviceKey};
pub use process::{Instance, Server, cpu_of};
pub use station::{LineError, Station};

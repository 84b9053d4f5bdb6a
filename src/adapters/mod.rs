//! The engines behind the ports. No adapter knows another.

pub mod seal;

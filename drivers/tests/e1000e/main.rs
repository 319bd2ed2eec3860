//! The e1000e driver against a model of the device.

#[path = "../gigabit/mod.rs"]
mod gigabit;

const KIND: gigabit::Kind = gigabit::Kind::E1000e;

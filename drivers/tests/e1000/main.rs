//! The e1000 driver against a model of the device.

#[path = "../gigabit/mod.rs"]
mod gigabit;

const KIND: gigabit::Kind = gigabit::Kind::E1000;

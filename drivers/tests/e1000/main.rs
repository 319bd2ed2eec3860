//! The e1000 driver against a model of the device.

#[path = "../gigabit/family.rs"]
mod family;
#[path = "../intel/mod.rs"]
mod intel;
#[path = "../gigabit/nvm.rs"]
mod nvm;

const KIND: family::Kind = family::Kind::E1000;

//! The ixgbe driver against a model of the device.

#[path = "../intel/advanced.rs"]
mod advanced;
mod family;
#[path = "../intel/mod.rs"]
mod intel;
#[path = "../gigabit/nvm.rs"]
mod nvm;
mod queues;
mod readiness;

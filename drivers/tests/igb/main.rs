//! The igb driver against a model of the device.

#[path = "../intel/advanced.rs"]
mod advanced;
mod device;
mod family;
#[path = "../intel/mod.rs"]
mod intel;
mod queues;

//! The ixgbevf driver against a model of a virtual function and its host.

#[path = "../intel/advanced.rs"]
mod advanced;
#[path = "../vf/alike.rs"]
mod alike;
mod family;
#[path = "../vf/host.rs"]
mod host;
#[path = "../vf/hosts.rs"]
mod hosts;
#[path = "../intel/mod.rs"]
mod intel;
mod versions;

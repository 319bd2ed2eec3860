//! Stacks on a wire, in virtual time.

mod address;
mod dns;
mod errors;
mod hostile;
mod in_place;
mod ipv6;
mod link;
mod nal;
mod network;
mod pair;
mod traffic;

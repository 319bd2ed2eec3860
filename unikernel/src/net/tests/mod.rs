//! Stacks on a wire, in virtual time.

mod ipv6;
mod network;
mod pair;
mod traffic;

mod address;

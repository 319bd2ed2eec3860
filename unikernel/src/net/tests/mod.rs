//! Stacks on a wire, in virtual time.

mod network;
mod pair;
mod traffic;

mod address;

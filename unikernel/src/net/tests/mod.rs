//! Stacks on a wire, in virtual time.

mod network;
mod traffic;

mod address;

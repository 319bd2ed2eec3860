//! Stacks on a wire, in virtual time.

mod address;
mod coalescing;
mod connections;
mod dhcp;
mod dns;
mod errors;
mod fragments;
mod handshakes;
mod hostile;
mod in_place;
mod inbox;
mod ipv6;
mod link;
mod link6;
mod nal;
mod network;
mod pair;
mod paths;
mod reset;
mod traffic;

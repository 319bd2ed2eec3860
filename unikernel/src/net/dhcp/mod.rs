//! A DHCP client (RFC 2131).
//!
//! smoltcp has one. It is not used: it forgets its lease when it is to ask again, it answers every
//! refusal at once with another request, and it drops what has no netmask or several routers.

mod client;
mod message;

pub(super) use client::{Client, Held};
pub(super) use message::{Message, Reply};

//! Names, asked of an interface's DNS servers.

use alloc::vec::Vec;
use core::net::IpAddr;

use unikernel::net::{Error, Family, Stack};

/// DNS on an interface; see [`Interface::dns`](crate::Interface::dns). A handle, cheap to clone.
#[derive(Clone)]
pub struct Dns(pub(crate) Stack);

impl Dns {
    /// The address of a name, IPv4 if there is one. What is an address already needs no server.
    ///
    /// # Errors
    /// [`Error::NoSuchName`], [`Error::NoNameServer`], [`Error::TimedOut`], [`Error::TooLong`].
    pub async fn resolve(&self, name: &str) -> Result<IpAddr, Error> {
        self.0.resolve(name, Family::Any).await
    }

    /// The address of a name, of this family.
    ///
    /// # Errors
    /// As [`resolve`](Self::resolve).
    pub async fn resolve_to(&self, name: &str, family: Family) -> Result<IpAddr, Error> {
        self.0.resolve(name, family).await
    }

    /// The servers that are asked: those of `dns=` on the command line, then DHCP's.
    pub fn servers(&self) -> Vec<IpAddr> {
        self.0.name_servers()
    }
}

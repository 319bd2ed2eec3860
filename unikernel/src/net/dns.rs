//! Names to addresses.

use alloc::vec::Vec;
use core::future::poll_fn;
use core::net::IpAddr;
use core::task::Poll;

use embassy_futures::yield_now;
use smoltcp::socket::dns::{GetQueryResultError, QueryHandle, Socket, StartQueryError};
use smoltcp::time::Duration;
use smoltcp::wire::DnsQueryType;

use super::error::Error;
use super::stack::Stack;

/// How long smoltcp asks one server.
const PATIENCE: Duration = Duration::from_secs(10);

/// Which addresses are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4 alone.
    Ipv4,
    /// IPv6 alone.
    Ipv6,
    /// Whichever there is, IPv4 first.
    Any,
}

impl Family {
    fn accepts(self, address: &IpAddr) -> bool {
        match self {
            Self::Ipv4 => address.is_ipv4(),
            Self::Ipv6 => address.is_ipv6(),
            Self::Any => true,
        }
    }
}

impl Stack {
    /// The address of a name. One that is an address already needs no server.
    ///
    /// # Errors
    /// [`Error::NoSuchName`], also if it has no address of that family; [`Error::NoNameServer`],
    /// [`Error::TimedOut`], [`Error::TooLong`].
    pub async fn resolve(&self, name: &str, family: Family) -> Result<IpAddr, Error> {
        if let Ok(address) = name.parse() {
            return Some(address).filter(|it| family.accepts(it)).ok_or(Error::NoSuchName);
        }
        match family {
            Family::Ipv4 => self.query(name, DnsQueryType::A).await,
            Family::Ipv6 => self.query(name, DnsQueryType::Aaaa).await,
            Family::Any => match self.query(name, DnsQueryType::A).await {
                Err(Error::NoSuchName) => self.query(name, DnsQueryType::Aaaa).await,
                result => result,
            },
        }
    }

    /// The servers that names are asked of: those of the configuration, then DHCP's.
    pub fn name_servers(&self) -> Vec<IpAddr> {
        self.with(|engine| engine.addresses.name_servers().map(Into::into).collect())
    }

    async fn query(&self, name: &str, family: DnsQueryType) -> Result<IpAddr, Error> {
        let servers = self.name_servers().len();
        if servers == 0 {
            return Err(Error::NoNameServer);
        }
        let (handle, last_turn) = self.with(|engine| {
            let handle = engine.sockets.dns();
            let socket = engine.sockets.get::<Socket<'_>>(handle);
            let query = socket.start_query(engine.interface.context(), name, family);
            Ok((query.map_err(no_query)?, engine.now()))
        })?;
        let query = Query { stack: self, handle: Some(handle) };
        self.wake();
        // What the last turn took for the present may be long past.
        while self.with(|engine| engine.now()) == last_turn {
            yield_now().await;
        }
        let start = self.with(|engine| engine.now());
        match query.result().await {
            Ok(address) => Ok(address),
            // smoltcp does not tell these apart.
            Err(()) if self.with(|engine| engine.now()) < start + PATIENCE * servers as u32 => {
                Err(Error::NoSuchName)
            }
            Err(()) => Err(Error::TimedOut),
        }
    }
}

fn no_query(error: StartQueryError) -> Error {
    match error {
        StartQueryError::NoFreeSlot => Error::NoMemory,
        StartQueryError::InvalidName => Error::NoSuchName,
        StartQueryError::NameTooLong => Error::TooLong,
    }
}

/// A query, given up when dropped.
struct Query<'a> {
    stack: &'a Stack,
    handle: Option<QueryHandle>,
}

impl Query<'_> {
    async fn result(mut self) -> Result<IpAddr, ()> {
        poll_fn(|context| {
            let Some(handle) = self.handle else { return Poll::Ready(Err(())) };
            let result = socket(self.stack, |socket| match socket.get_query_result(handle) {
                Err(GetQueryResultError::Pending) => {
                    socket.register_query_waker(handle, context.waker());
                    Poll::Pending
                }
                Err(GetQueryResultError::Failed) => Poll::Ready(Err(())),
                Ok(addresses) => Poll::Ready(addresses.first().map(|&it| it.into()).ok_or(())),
            });
            if result.is_ready() {
                // smoltcp has freed it.
                self.handle = None;
            }
            result
        })
        .await
    }
}

impl Drop for Query<'_> {
    fn drop(&mut self) {
        if let Some(handle) = self.handle {
            socket(self.stack, |socket| socket.cancel_query(handle));
        }
    }
}

fn socket<R>(stack: &Stack, f: impl FnOnce(&mut Socket<'static>) -> R) -> R {
    stack.with_sockets(|sockets| {
        let handle = sockets.dns();
        f(sockets.get(handle))
    })
}

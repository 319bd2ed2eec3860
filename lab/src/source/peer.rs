//! Linux as a machine on the segment: a network namespace of its own with a tap device, so that
//! stock clients reach the guest by this machine's own TCP.

use super::cable::{Listens, cable_line, stream};
use crate::parts::Qemu;
use crate::segment::Segment;
use crate::system::namespace;
use crate::system::process::Guard;
use crate::system::tools::{self, Tool};
use anyhow::{Context, Result, bail};
use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// The kind of namespace.
const NETWORK: &str = "--net";
/// The tap device's name, in a namespace that nobody else is in.
const DEVICE: &str = "segment";
/// What makes the device, at the address in `$1`, says so, and goes on as the command line behind
/// it. Without IPv6, which nobody here speaks to it.
const SET_UP: &str = "set -e
    address=$1 device=$2; shift 2
    ip tuntap add dev $device mode tap
    ip link set dev $device addrgenmode none
    ip address add $address dev $device
    ip link set dev $device up
    ip link set dev lo up
    echo up
    exec \"$@\"";
const UTIL_LINUX: [Tool; 2] =
    [Tool::program("unshare", "util-linux"), Tool::program("nsenter", "util-linux")];

/// The peer, there until dropped.
pub struct Peer {
    server: SocketAddr,
    cable: Guard,
}

impl Peer {
    /// Is on the segment as `address`, and has its clients ask `server`, a guest. `directory` is
    /// for its socket.
    ///
    /// It dies with the calling thread.
    ///
    /// # Errors
    /// This user may make no namespace or tap device, or a program for it is missing.
    pub fn start(
        qemu: &Qemu,
        segment: &Segment,
        directory: &Path,
        address: Ipv4Addr,
        server: SocketAddr,
    ) -> Result<Self> {
        let needed = [&UTIL_LINUX[..], &[Tool::program("ip", "iproute2")]].concat();
        tools::require("traffic of a stock client", &needed)?;
        let socket = directory.join("peer");
        segment.listen("peer", &socket)?;
        let tap = format!("tap,id=tap,ifname={DEVICE},script=no,downscript=no");
        let port = stream("port", &socket, Listens::Peer);

        let mut command = namespace::unshare(NETWORK);
        command.args(["sh", "-c", SET_UP, "sh", &format!("{address}/24"), DEVICE]);
        command.args(cable_line(qemu, ["tap", "port"], [&tap, &port]));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut cable = Guard::spawn(&mut command).context("cannot start unshare")?;
        let (mut up, mut said) = (String::new(), String::new());
        let output = cable.stdout.take().context("its output")?;
        BufReader::new(output).read_line(&mut up)?;
        if up != "up\n" {
            if let Some(mut errors) = cable.stderr.take() {
                errors.read_to_string(&mut said)?;
            }
            bail!(
                "cannot make a network namespace with a tap device for the client ({}): run as \
                 root, or allow user namespaces (user_namespaces(7)) and /dev/net/tun",
                said.trim()
            );
        }
        Ok(Self { server, cable })
    }

    /// What a client asks.
    pub fn server(&self) -> SocketAddr {
        self.server
    }

    /// A command to be given arguments and standard streams, then to [`Guard::spawn`]: `program`,
    /// where the guest is reached.
    pub fn command(&self, program: &str) -> Command {
        let mut command = namespace::enter(self.cable.id(), NETWORK);
        command.arg(program);
        command
    }

    /// A connection to the guest, by socat, whose end is that of the stream.
    ///
    /// # Errors
    /// socat cannot be started. Whether there is a connection shows when something is sent.
    pub fn connect(&self) -> Result<(UnixStream, Guard)> {
        self.connect_to(self.server.port(), Duration::from_secs(3600))
    }

    /// The same to another TCP port of the guest. When one direction is at its end, the other one
    /// may go on for so long; the stream is at its end only then.
    ///
    /// # Errors
    /// As those of [`connect`](Self::connect).
    pub fn connect_to(&self, port: u16, half_closed: Duration) -> Result<(UnixStream, Guard)> {
        tools::require("this traffic", &[Tool::program("socat", "socat")])?;
        let (ours, theirs) = UnixStream::pair()?;
        let theirs = OwnedFd::from(theirs);
        let mut command = self.command("socat");
        let server = SocketAddr::new(self.server.ip(), port);
        let half_closed = half_closed.as_secs_f64().to_string();
        command.args(["-t", &half_closed, "STDIO", &format!("TCP:{server},nodelay")]);
        command.stdin(theirs.try_clone()?).stdout(theirs);
        let relay = Guard::spawn(&mut command).context("cannot start socat")?;
        Ok((ours, relay))
    }
}

//! An interface of a machine as a port of the segment: every frame goes to and fro.

use std::{
    io::{self, BufReader, Read, Write},
    net::Shutdown,
    os::unix::net::UnixStream,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use pnet_datalink::{Channel, Config, DataLinkReceiver, DataLinkSender, interfaces};

use crate::{
    hardware::{Hardware, Take},
    segment::{Frame, LONGEST, PREFIX},
};

/// How long the interface is listened to at a time, before a look whether to stop.
const PATIENCE: Duration = Duration::from_millis(50);

/// How long a link may take to come up after its interface: negotiating takes seconds.
const NEGOTIATION: Duration = Duration::from_secs(5);
/// In an interface's flags: it is set up (netdevice(7)).
const IFF_UP: u32 = 1;

/// An interface that is connected to a port. Dropped, it is only the machine's again.
#[derive(Debug)]
pub struct Wire {
    port: UnixStream,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Wire {
    /// Connects the interface of that name to the segment's port that listens at `segment`.
    ///
    /// It is promiscuous meanwhile, since the segment's stations have addresses of their own. The
    /// machine has what it receives as well.
    ///
    /// # Errors
    /// There is no such interface, or this user may not send what frames he likes.
    pub fn connect(interface: &str, segment: &Path) -> Result<Self> {
        let (sender, receiver) = open(interface)?;
        let port = UnixStream::connect(segment).context("the segment's port")?;
        let stop = Arc::new(AtomicBool::new(false));
        let (from, to, stopping) = (port.try_clone()?, port.try_clone()?, stop.clone());
        let threads = vec![
            thread::Builder::new().name("wire-out".into()).spawn(move || send(from, sender))?,
            thread::Builder::new()
                .name("wire-in".into())
                .spawn(move || receive(to, receiver, &stopping))?,
        ];
        Ok(Self { port, stop, threads })
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        // Fails only when the segment is gone, and then the threads have ended.
        let _ = self.port.shutdown(Shutdown::Both);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Checks that frames can go by an interface. One that the machine needs for itself has to be
/// [`Take::Even`]: whoever is on its network hears what is sent, a flood too.
///
/// # Errors
/// It is not there, down, or needed.
pub(super) fn check(hardware: &Hardware, interface: &str, take: Take) -> Result<()> {
    let place = format!("/sys/class/net/{interface}");
    ensure!(
        !interface.contains('/') && hardware.has(&place),
        "--source: this machine has no interface {interface:?}; `ip link` lists them"
    );
    let state = || hardware.text(&format!("{place}/operstate")).unwrap_or_default();
    // Of a device that does not know, such as a tap's, it is `unknown`.
    let is_up = |state: &str| matches!(state, "up" | "unknown");
    let deadline = Instant::now() + NEGOTIATION;
    while !is_up(&state()) && is_enabled(hardware, &place) && Instant::now() < deadline {
        thread::sleep(PATIENCE);
    }
    let state = state();
    ensure!(
        is_up(&state),
        "--source: {interface} is {state}; plug it in, and\n    ip link set {interface} up"
    );
    match hardware.carries(interface).filter(|_| take == Take::Spare) {
        Some(why) => bail!(
            "--source: {why}, and a flood would be sent there; choose another interface, or name \
             it again as --take {interface}"
        ),
        None => Ok(()),
    }
}

/// Whether somebody has set an interface up, with a link or without.
fn is_enabled(hardware: &Hardware, place: &str) -> bool {
    let flags = hardware.text(&format!("{place}/flags")).unwrap_or_default();
    let flags = u32::from_str_radix(flags.trim_start_matches("0x"), 16).unwrap_or_default();
    flags & IFF_UP != 0
}

fn open(name: &str) -> Result<(Box<dyn DataLinkSender>, Box<dyn DataLinkReceiver>)> {
    let interface = interfaces().into_iter().find(|interface| interface.name == name);
    let interface = interface.with_context(|| format!("there is no interface {name}"))?;
    let config = Config {
        read_timeout: Some(PATIENCE),
        read_buffer_size: LONGEST,
        write_buffer_size: LONGEST,
        ..Config::default()
    };
    match pnet_datalink::channel(&interface, config).context("a packet socket, as root only")? {
        Channel::Ethernet(sender, receiver) => Ok((sender, receiver)),
        _ => bail!("{name} is no Ethernet interface"),
    }
}

/// Puts the port's frames on the interface, until the port closes.
fn send(port: impl Read, mut interface: Box<dyn DataLinkSender>) {
    let mut port = BufReader::with_capacity(LONGEST, port);
    let mut frame = vec![0; LONGEST];
    let mut length = [0; PREFIX];
    while port.read_exact(&mut length).is_ok() {
        let Some(frame) = frame.get_mut(..u32::from_be_bytes(length) as usize) else { return };
        if port.read_exact(frame).is_err() {
            return;
        }
        // A frame that does not go out is lost, as on any wire.
        let _ = interface.send_to(frame, None);
    }
}

/// Gives the port what the interface receives, until it is to stop.
fn receive(mut port: impl Write, mut interface: Box<dyn DataLinkReceiver>, stop: &AtomicBool) {
    while !stop.load(Relaxed) {
        match interface.next() {
            Ok(received) => {
                let frame = Frame::build(received.len(), |wire| wire.extend_from_slice(received));
                if port.write_all(frame.wire()).is_err() {
                    return;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {}
            // It is down, and may come up again.
            Err(_) => thread::sleep(PATIENCE),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_that_is_not_there_or_down_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let hardware = Hardware::below(directory.path());
        let error = |name| check(&hardware, name, Take::Spare).map_err(|error| error.to_string());
        assert!(error("eth9").unwrap_err().contains("no interface \"eth9\""));
        let place = directory.path().join("sys/class/net/eth0");
        std::fs::create_dir_all(&place).unwrap();
        std::fs::write(place.join("operstate"), "down\n").unwrap();
        assert!(error("eth0").unwrap_err().contains("ip link set eth0 up"));
        std::fs::write(place.join("operstate"), "up\n").unwrap();
        assert_eq!(error("eth0"), Ok(()));
        assert!(error("../net/eth0").is_err());
    }

    #[test]
    fn a_link_that_is_still_coming_up_is_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("sys/class/net/eth0");
        std::fs::create_dir_all(&place).unwrap();
        std::fs::write(place.join("operstate"), "down\n").unwrap();
        std::fs::write(place.join("flags"), "0x1003\n").unwrap();
        let later = thread::spawn(move || {
            thread::sleep(2 * PATIENCE);
            std::fs::write(place.join("new"), "up\n").unwrap();
            std::fs::rename(place.join("new"), place.join("operstate")).unwrap();
        });
        check(&Hardware::below(directory.path()), "eth0", Take::Spare).unwrap();
        later.join().unwrap();
    }

    #[test]
    fn an_interface_that_the_machine_needs_has_to_be_named_again() {
        let directory = tempfile::tempdir().unwrap();
        let hardware = Hardware::below(directory.path());
        for (path, text) in [
            ("sys/class/net/eth0/operstate", "up\n"),
            ("proc/net/route", "Iface ...\neth0\t00000000\t0102000A\t0003\t0\t0\t0\t00000000\n"),
        ] {
            let path = directory.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let error = check(&hardware, "eth0", Take::Spare).unwrap_err().to_string();
        assert!(error.contains("default route") && error.contains("--take eth0"), "{error}");
        check(&hardware, "eth0", Take::Even).unwrap();
    }
}

//! Machines of other shapes: chipset, processors, memory, root buses, IOMMUs. Each boots, and gets
//! its address by DHCP, so that frames go both ways.

use std::{
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use lab::{
    build::application,
    guest::{Guest, READY, machine},
    parts::{Accelerator, NicModel},
};

use crate::{
    monitor::Monitor,
    suite::{MINUTES, Skipped, Suite},
};

/// The NIC where nothing else is said of it.
const NIC: &str = "-device e1000e,netdev=net,romfile=";

/// A machine by the options that make it different, and how it differs.
struct Shape {
    name: &'static str,
    /// A device that QEMU has to have.
    needs: Option<&'static str>,
    options: &'static str,
    nic: &'static str,
}

const fn shape(name: &'static str, options: &'static str) -> Shape {
    Shape { name, needs: None, options, nic: NIC }
}

const SHAPES: &[Shape] = &[
    shape("pc", "-M pc"),
    Shape { nic: "-device e1000,netdev=net,romfile=", ..shape("pc with 9 GiB", "-M pc -m 9G") },
    // Nothing says where its timer is, nor its configuration space.
    shape("pc without ACPI", "-M pc,acpi=off"),
    shape("2 processors", "-smp 2"),
    shape("3 processors", "-smp 3"),
    shape("4 processors", "-smp 4"),
    shape("16 MiB", "-m 16M"),
    shape("32 MiB", "-m 32M"),
    shape("3 GiB", "-m 3G"),
    shape("9 GiB", "-m 9G"),
    shape("qemu64", "-cpu qemu64"),
    Shape {
        needs: Some("pxb-pcie"),
        nic: "-device pcie-root-port,id=below,bus=far,chassis=9 \
              -device e1000e,bus=below,netdev=net,romfile=",
        ..shape(
            "three root buses",
            "-device pxb-pcie,id=far,bus=pcie.0,bus_nr=32 \
             -device pxb-pcie,id=farther,bus=pcie.0,bus_nr=64",
        )
    },
    Shape { needs: Some("intel-iommu"), ..shape("an Intel IOMMU", "-device intel-iommu") },
];

const VIRTIO_IOMMU: Shape = Shape {
    needs: Some("virtio-iommu-pci"),
    ..shape("a virtio-iommu", "-device virtio-iommu-pci,boot-bypass=on")
};
/// What the guest says of one that lets nobody through.
const NAMED: &str = "is a virtio-iommu, which has no driver";

pub(crate) fn add(suite: &mut Suite) {
    for shape in SHAPES {
        suite.test(&format!("a machine with {}", shape.name), MINUTES, |log| {
            boots(shape, log).map(|_| String::new())
        });
    }
    suite.test("a machine with a virtio-iommu", MINUTES, open_iommu);
    suite.test("a virtio-iommu that lets nobody through is named", MINUTES, closed_iommu);
    suite.test("a machine on huge pages", MINUTES, huge_pages);
    suite.test("a machine that is reset boots again", MINUTES, reset);
}

/// A machine that is not started yet.
fn line(options: &str) -> Result<Vec<String>> {
    let qemu = machine::qemu_with(NicModel::E1000e)?;
    let mut line = machine::command_line(&qemu, Accelerator::Tcg, 128, &application::ours()?, "");
    line.extend("-netdev user,id=net ".split_whitespace().map(str::to_owned));
    line.extend(options.split_whitespace().map(str::to_owned));
    Ok(line)
}

/// Waits for it to have booted, in a machine that is no more afterwards than what is returned.
fn boots(shape: &Shape, log: &Path) -> Result<Guest> {
    if let Some(device) = shape.needs
        && !machine::has_device(&machine::qemu_with(NicModel::E1000e)?, device)?
    {
        return Err(Skipped(format!("it lacks a QEMU with {device}")).into());
    }
    let mut guest = Guest::start(line(&format!("{} {}", shape.options, shape.nic))?, None, log)?;
    guest.wait_for(READY)?;
    Ok(guest)
}

/// Takes as many from the machine as it needs, and gives them back.
fn huge_pages(log: &Path) -> Result<String> {
    struct Reserved<'a>(&'a str, String);
    impl Drop for Reserved<'_> {
        fn drop(&mut self) {
            let _ = fs::write(self.0, &self.1);
        }
    }
    const FILE: &str = "/proc/sys/vm/nr_hugepages";
    const WANTED: u64 = 64;
    let count = || Ok::<_, anyhow::Error>(fs::read_to_string(FILE)?.trim().to_owned());
    let reserved = Reserved(FILE, count()?);
    let before: u64 = reserved.1.parse().context(FILE)?;
    let wanted = before + WANTED;
    if fs::write(FILE, wanted.to_string()).is_err() || count()? != wanted.to_string() {
        return Err(Skipped(format!("it lacks {WANTED} huge pages: {FILE}")).into());
    }
    let memory = "-object memory-backend-memfd,id=ram,size=128M,hugetlb=on,hugetlbsize=2M";
    let options = format!("-M memory-backend=ram {memory} {NIC}");
    let mut guest = Guest::start(line(&options)?, None, log)?;
    guest.wait_for(READY)?;
    drop((guest, reserved));
    Ok(String::new())
}

fn reset(log: &Path) -> Result<String> {
    let monitor = Monitor::new()?;
    let [option, socket] = monitor.options();
    let options = format!("{option} {socket} -action reboot=reset {NIC}");
    let mut guest = Guest::start(line(&options)?, None, log)?;
    guest.wait_for(READY)?;
    let _conversation = monitor.execute("system_reset")?;
    says(&mut guest, READY, 2)?;
    Ok(String::new())
}

/// Waits for it to have said that so many times.
pub(crate) fn says(guest: &mut Guest, text: &str, times: usize) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        // A line that is whole.
        let console = guest.console();
        let said = console.lines().filter(|line| line.contains(text)).count();
        if said >= times && console.ends_with('\n') {
            return Ok(());
        }
        guest.ensure_running()?;
        ensure!(Instant::now() < deadline, "it says {text:?} {said} times, not {times}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// An IOMMU that lets everybody through is not worth a line.
fn open_iommu(log: &Path) -> Result<String> {
    let guest = boots(&VIRTIO_IOMMU, log)?;
    ensure!(!guest.console().contains(NAMED), "it is named, but stands in nobody's way");
    Ok(String::new())
}

/// What an IOMMU keeps from everybody whom it was not told to let through.
fn closed_iommu(log: &Path) -> Result<String> {
    if !machine::has_device(&machine::qemu_with(NicModel::E1000e)?, "virtio-iommu-pci")? {
        return Err(Skipped("it lacks a QEMU with virtio-iommu-pci".into()).into());
    }
    let device = format!("-device virtio-iommu-pci,boot-bypass=off {NIC}");
    let mut guest = Guest::start(line(&device)?, None, log)?;
    let said = guest.wait_for(NAMED)?;
    ensure!(said.contains("boot-bypass=on"), "it names no remedy: {said:?}");
    Ok(String::new())
}

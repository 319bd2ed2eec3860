//! `cargo xtask doctor`.

use std::{fs, path::Path, process::Command};

use anyhow::Result;

use lab::{
    build::{application, crates, host_kernel, qemu},
    guest::{accel, machine, vfio as passthrough},
    system::{
        command, paths,
        tools::{self, Tool},
    },
};

use crate::ending::Ending;

/// Memory of the lab's host and of the QEMU around it.
const LAB_MEMORY_MIB: u64 = 5 * 1024;

/// One line of the table.
struct Finding {
    subject: &'static str,
    good: bool,
    what: String,
    remedy: Option<String>,
}

impl Finding {
    fn good(subject: &'static str, what: impl Into<String>) -> Self {
        Self { subject, good: true, what: what.into(), remedy: None }
    }

    fn bad(subject: &'static str, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { subject, good: false, what: what.into(), remedy: Some(remedy.into()) }
    }
}

pub(crate) fn main() -> Result<Ending> {
    println!("For demo, migrate, test and run:");
    print(&[rust_targets(), tools(), patched_qemu(), kernel(), cache(), memory(), iperf3()]);
    println!("\nFor run on this machine's own hardware:");
    print(&[distribution_qemu(), kvm(), nested(), iommu(), vfio()]);
    Ok(Ending::AsAsked)
}

fn print(findings: &[Finding]) {
    for Finding { subject, good, what, remedy } in findings {
        println!("  {} {subject:<16} {what}", if *good { "yes" } else { "no " });
        for line in remedy.iter().flat_map(|remedy| remedy.lines()) {
            println!("      {:<16} -> {line}", "");
        }
    }
}

fn rust_targets() -> Finding {
    let missing: Vec<_> = crates::TARGETS
        .into_iter()
        .filter(|target| !crates::has_target(target).unwrap_or(false))
        .collect();
    if missing.is_empty() {
        return Finding::good("Rust targets", crates::TARGETS.join(", "));
    }
    let missing = missing.join(" ");
    Finding::bad(
        "Rust targets",
        format!("missing: {missing}"),
        format!("rustup target add {missing}   # done when needed"),
    )
}

fn tools() -> Finding {
    let missing: Vec<&Tool> = qemu::TOOLS.iter().filter(|tool| !tool.present()).collect();
    if missing.is_empty() {
        return Finding::good("tools for QEMU", "all there");
    }
    let names = missing.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    Finding::bad(
        "tools for QEMU",
        format!("missing: {names}"),
        format!("sudo {}   # done when needed, as root", tools::install_line(&missing)),
    )
}

fn patched_qemu() -> Finding {
    match qemu::built() {
        Ok(Some(qemu)) => Finding::good("patched QEMU", qemu.binary.display().to_string()),
        Ok(None) => Finding::bad(
            "patched QEMU",
            "not built yet",
            "cargo xtask qemu   # done when needed; some 5 minutes on two cores",
        ),
        Err(error) => Finding::bad("patched QEMU", format!("{error:#}"), "see the message"),
    }
}

fn kernel() -> Finding {
    match host_kernel::cached() {
        Ok(Some(kernel)) => Finding::good("lab's kernel", kernel.image.display().to_string()),
        Ok(None) => Finding::bad(
            "lab's kernel",
            "not downloaded yet",
            "done when needed, from this machine's Debian mirror; or give --host-kernel",
        ),
        Err(error) => Finding::bad("lab's kernel", format!("{error:#}"), "see the message"),
    }
}

fn cache() -> Finding {
    let subject = "cache";
    let free = paths::cache().and_then(|cache| Ok((qemu::free_mib(&cache)?, cache)));
    match free {
        Ok((free, cache)) if free >= qemu::SPACE_MIB => {
            Finding::good(subject, format!("{}, {free} MiB free", cache.display()))
        }
        Ok((free, cache)) => Finding::bad(
            subject,
            format!("{}: {free} MiB free of {} for a build", cache.display(), qemu::SPACE_MIB),
            "free some space, or set GODWIT_CACHE to a directory on another disk",
        ),
        Err(error) => Finding::bad(subject, format!("{error:#}"), "set GODWIT_CACHE"),
    }
}

fn memory() -> Finding {
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let available = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:")?.trim().strip_suffix(" kB"))
        .and_then(|kib| kib.parse::<u64>().ok())
        .map_or(0, |kib| kib / 1024);
    let what = format!("{available} MiB available");
    if available >= LAB_MEMORY_MIB {
        return Finding::good("memory", what);
    }
    let remedy = format!("the lab takes up to {LAB_MEMORY_MIB} MiB: end something else first");
    Finding::bad("memory", what, remedy)
}

fn iperf3() -> Finding {
    match tools::find_program("iperf3") {
        Some(path) => Finding::good("iperf3", path.display().to_string()),
        None => Finding::bad(
            "iperf3",
            "missing; TCP traffic is driven with it",
            "sudo apt-get install --no-install-recommends iperf3   # done when needed, as root",
        ),
    }
}

fn distribution_qemu() -> Finding {
    let subject = "installed QEMU";
    let Some(path) = tools::find_program("qemu-system-x86_64") else {
        let remedy = "none needed: run takes the patched one; or install qemu-system-x86";
        return Finding::bad(subject, "none", remedy);
    };
    match command::run(Command::new(&path).arg("--version")) {
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stdout);
            let version = text.lines().next().unwrap_or_default().to_owned();
            Finding::good(subject, format!("{}: {version}", path.display()))
        }
        Err(error) => Finding::bad(subject, format!("{error:#}"), "reinstall qemu-system-x86"),
    }
}

fn kvm() -> Finding {
    if !Path::new("/dev/kvm").exists() {
        return Finding::bad(
            "KVM",
            "no /dev/kvm",
            "turn virtualisation on in the firmware and load kvm-amd or kvm-intel; until then \
             everything runs in software (TCG)",
        );
    }
    // A QEMU of five minutes' building is too much for a question.
    let qemu = match (tools::find_program("qemu-system-x86_64"), qemu::built()) {
        (None, Ok(None)) => {
            return Finding::bad("KVM", "not tried: there is no QEMU yet", "cargo xtask qemu");
        }
        _ => machine::qemu(),
    };
    let trouble = qemu.and_then(|qemu| accel::kvm_trouble(&qemu, &application::ours()?));
    match trouble {
        Ok(None) => Finding::good("KVM", "a guest of ours ran under it"),
        Ok(Some(trouble)) => Finding::bad(
            "KVM",
            format!("not usable: {trouble}"),
            "none needed: --accel auto runs in software (TCG). In a virtual machine, KVM needs \
             nested virtualisation from the host; for a permission, the group kvm",
        ),
        Err(error) => Finding::bad("KVM", format!("not tried: {error:#}"), "see the message"),
    }
}

fn nested() -> Finding {
    let on = ["kvm_amd", "kvm_intel"].into_iter().find(|module| {
        let parameter = format!("/sys/module/{module}/parameters/nested");
        fs::read_to_string(parameter).is_ok_and(|text| matches!(text.trim(), "1" | "Y"))
    });
    match on {
        Some(module) => Finding::good("nested KVM", format!("{module} nests")),
        None => Finding::bad(
            "nested KVM",
            "off or unknown",
            "none needed: the lab emulates its host in software",
        ),
    }
}

fn iommu() -> Finding {
    let groups = fs::read_dir("/sys/kernel/iommu_groups").map_or(0, Iterator::count);
    if groups > 0 {
        return Finding::good("IOMMU", format!("{groups} groups"));
    }
    Finding::bad(
        "IOMMU",
        "no groups",
        "for real passthrough turn the IOMMU on in the firmware, and with intel_iommu=on or \
         amd_iommu=on on Linux's command line; the lab emulates one",
    )
}

fn vfio() -> Finding {
    let bound: Vec<String> = fs::read_dir("/sys/bus/pci/drivers/vfio-pci")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.contains(':'))
        .collect();
    if !bound.is_empty() {
        return Finding::good("vfio-pci devices", bound.join(", "));
    }
    let example = nics().into_iter().next().unwrap_or_else(|| "0000:03:00.0".into());
    Finding::bad(
        "vfio-pci devices",
        "none bound",
        format!("for run --nic vfio:{example}, as root:\n{}", passthrough::remedy(&example)),
    )
}

/// Ethernet controllers of this machine.
fn nics() -> Vec<String> {
    let mut nics: Vec<String> = fs::read_dir("/sys/bus/pci/devices")
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
        .filter(|entry| {
            fs::read_to_string(entry.path().join("class"))
                .is_ok_and(|class| class.starts_with("0x0200"))
        })
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    nics.sort();
    nics
}

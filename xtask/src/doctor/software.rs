//! What demo, migrate, test and run need in software.

use std::fs;

use lab::{
    build::{crates, host_kernel, qemu},
    system::{
        paths,
        tools::{self, Tool},
    },
};

use super::finding::Finding;

/// Memory of the lab's host and of the QEMU around it.
const LAB_MEMORY_MIB: u64 = 5 * 1024;

/// What it needs.
pub(super) fn findings() -> Vec<Finding> {
    vec![rust_targets(), tools(), patched_qemu(), kernel(), cache(), memory(), iperf3()]
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

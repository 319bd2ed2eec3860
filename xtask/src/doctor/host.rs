//! What a machine has for guests with NICs of its own.

use std::{env::consts, fs, path::Path};

use lab::{
    guest::{accel::Trial, machine},
    hardware::{self, Hardware, Nic},
    parts::Qemu,
};

use super::finding::Finding;

/// Two on one machine: the NIC that a guest comes from, and the one it goes to.
const NICS: usize = 2;
/// All of a guest's memory is locked, since a device may write to it: that of a small one.
const GUEST_MEMORY: u64 = 256 << 20;
/// Of the host that a guest goes to as well.
const MODEL: &str = "the other host needs the same model, or a `-cpu` that both have";

/// What whoever asks may do.
#[derive(Debug, Clone, Copy)]
pub(super) struct Me {
    /// May do anything.
    is_root: bool,
    /// Bytes that a process may lock in memory; none for any number.
    lockable: Option<u64>,
}

impl Me {
    /// What this process may do.
    pub(super) fn now() -> Self {
        let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        Self { is_root: is_root(&status), lockable: lockable(&limits) }
    }
}

/// Whether a process whose `/proc/…/status` that is has root's rights.
fn is_root(status: &str) -> bool {
    let users = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    // Real, effective, and more.
    users.and_then(|users| users.split_ascii_whitespace().nth(1)) == Some("0")
}

/// The soft limit in `/proc/…/limits`; `None` for none.
fn lockable(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max locked memory"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// All that the machine's files tell.
pub(super) fn findings(machine: &Hardware, me: &Me) -> Vec<Finding> {
    let mut all = of_machine(machine, me);
    all.insert(2, nics(&machine.nics()).required());
    all
}

/// The same but for which NICs are spare, of no interest to whoever names those to take.
pub(super) fn of_machine(machine: &Hardware, me: &Me) -> Vec<Finding> {
    vec![
        iommu(machine).required(),
        vfio(machine).required(),
        acs(&machine.nics()),
        virtual_functions(&machine.nics()),
        rights(me).required(),
        locked_memory(me).required(),
        huge_pages(machine),
        clock(machine),
        processor(machine),
        nested(machine),
    ]
}

/// The QEMU that a guest would run in.
pub(super) fn qemu(qemu: Option<&Qemu>) -> Finding {
    let subject = "QEMU";
    let remedy = "cargo xtask qemu   # some 5 minutes on two cores";
    let Some(qemu) = qemu else { return Finding::bad(subject, "none", remedy).required() };
    let path = qemu.binary.display();
    match machine::has_capability(qemu) {
        Ok(true) => Finding::good(subject, format!("{path}, with the migration capability")),
        Ok(false) => Finding::bad(subject, format!("{path}: no migration capability"), remedy),
        Err(error) => Finding::bad(subject, format!("{path}: {error:#}"), remedy),
    }
    .required()
}

/// KVM, and what an exit costs.
pub(super) fn kvm(trial: &Result<Trial, String>) -> Finding {
    let subject = "KVM";
    let trial = match trial {
        Ok(trial) => trial,
        Err(why) => return Finding::bad(subject, format!("not tried: {why}"), "").required(),
    };
    let cost =
        trial.exit.map(|exit| format!("an exit takes {:.1} µs", exit.as_nanos() as f64 / 1e3));
    let finding = match (&trial.trouble, cost) {
        (None, cost) => {
            let cost = cost.map(|cost| format!("; {cost}")).unwrap_or_default();
            Finding::good(subject, format!("a guest of ours ran under it{cost}"))
        }
        (Some(trouble), cost) => {
            let cost = cost.filter(|_| !trouble.contains("exit takes"));
            let cost = cost.map(|cost| format!(" ({cost})")).unwrap_or_default();
            Finding::bad(
                subject,
                format!("not usable: {trouble}{cost}"),
                "modprobe kvm-amd || modprobe kvm-intel   # with virtualisation on in the \
                 firmware; in a virtual machine it takes nested virtualisation by the host\n\
                 usermod -aG kvm $USER   # for a permission\n\
                 until then --accel auto runs guests in software (TCG)",
            )
        }
    };
    finding.required()
}

fn iommu(machine: &Hardware) -> Finding {
    match machine.names("/sys/kernel/iommu_groups").len() {
        0 => Finding::bad(
            "IOMMU",
            "no groups",
            "turn it on in the firmware (VT-d, AMD-Vi), and in Linux:\n\
             add intel_iommu=on or amd_iommu=on to GRUB_CMDLINE_LINUX in /etc/default/grub; then \
             update-grub && reboot",
        ),
        count => Finding::good("IOMMU", format!("{count} groups")),
    }
}

fn vfio(machine: &Hardware) -> Finding {
    let subject = "vfio-pci";
    if !machine.has("/sys/bus/pci/drivers/vfio-pci") {
        return Finding::bad(subject, "not loaded", "modprobe vfio-pci");
    }
    let given = machine.nics().into_iter().filter(Nic::is_given).map(|nic| nic.address);
    let given: Vec<_> = given.collect();
    let given = if given.is_empty() { "nothing yet".into() } else { given.join(", ") };
    Finding::good(subject, format!("loaded; bound to {given}"))
}

fn nics(nics: &[Nic]) -> Finding {
    let subject = "spare NICs";
    let candidates: Vec<_> =
        nics.iter().filter(|nic| nic.is_candidate()).map(|nic| nic.address.as_str()).collect();
    if candidates.len() >= NICS {
        return Finding::good(subject, candidates.join(", "));
    }
    let some = if candidates.is_empty() { "none".into() } else { candidates.join(", ") };
    // Virtual functions of one that stays the machine's are spare. Linux changes their number from
    // and to none only.
    let may_make = |(there, total)| there == 0 && total >= NICS as u32;
    let maker = nics.iter().find(|nic| nic.virtual_functions.is_some_and(may_make));
    let remedy = match maker {
        Some(nic) => {
            format!("echo {NICS} > /sys/bus/pci/devices/{}/sriov_numvfs", nic.address)
        }
        None => "plug in two, or take the machine's traffic from some of those below".into(),
    };
    Finding::bad(subject, format!("{some}; a migration on one machine takes {NICS}"), remedy)
}

fn acs(nics: &[Nic]) -> Finding {
    let shared: Vec<_> = nics
        .iter()
        .filter(|nic| !nic.companions.is_empty())
        .map(|nic| format!("{} with {}", nic.address, nic.companions.join(", ")))
        .collect();
    if shared.is_empty() {
        return Finding::good("isolation (ACS)", "no NIC shares its IOMMU group");
    }
    Finding::bad(
        "isolation (ACS)",
        format!("in one IOMMU group: {}", shared.join("; ")),
        "plug it in below a port that has ACS, or turn ACS on in the firmware; or give the whole \
         group away",
    )
}

fn virtual_functions(nics: &[Nic]) -> Finding {
    let counts: Vec<_> = nics
        .iter()
        .filter_map(|nic| {
            let (there, total) = nic.virtual_functions?;
            Some(format!("{}: {there} of {total}", nic.address))
        })
        .collect();
    if counts.is_empty() {
        return Finding::bad("VFs", "no NIC has any", "none needed: a whole NIC can be given too");
    }
    Finding::good("VFs", counts.join("; "))
}

fn rights(me: &Me) -> Finding {
    if me.is_root {
        return Finding::good("rights", "root");
    }
    Finding::bad(
        "rights",
        "not root, who alone may bind a NIC to vfio-pci",
        "sudo -E env PATH=$PATH cargo xtask doctor",
    )
}

fn locked_memory(me: &Me) -> Finding {
    let subject = "locked memory";
    match me.lockable {
        _ if me.is_root => Finding::good(subject, "any amount, as root"),
        None => Finding::good(subject, "any amount"),
        Some(bytes) if bytes >= GUEST_MEMORY => {
            Finding::good(subject, format!("{} MiB", bytes >> 20))
        }
        Some(bytes) => Finding::bad(
            subject,
            format!("{} MiB; a guest's memory is locked whole", bytes >> 20),
            "ulimit -l unlimited   # lasting: `* - memlock unlimited` in /etc/security/limits.conf",
        ),
    }
}

fn huge_pages(machine: &Hardware) -> Finding {
    let subject = "huge pages";
    let place = "/sys/kernel/mm/hugepages";
    let count = |size: &str| {
        let count = machine.text(&format!("{place}/{size}/free_hugepages"))?;
        let size = size.strip_prefix("hugepages-")?;
        count
            .parse::<u64>()
            .ok()
            .filter(|&count| count > 0)
            .map(|count| format!("{count} of {size}"))
    };
    let free: Vec<_> = machine.names(place).iter().filter_map(|size| count(size)).collect();
    if !free.is_empty() {
        return Finding::good(subject, free.join(", ") + " free");
    }
    Finding::bad(subject, "none free", "none needed; for large guests: sysctl vm.nr_hugepages=512")
}

/// Guests take the time from the TSC. Where Linux does not trust it, they should not.
fn clock(machine: &Hardware) -> Finding {
    let place = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
    match machine.text(place).as_deref() {
        Some("tsc") => Finding::good("TSC", "stable: Linux keeps time by it"),
        other => Finding::bad(
            "TSC",
            format!("Linux keeps time by {}", other.unwrap_or("something unknown")),
            "dmesg | grep -i tsc   # says why; a guest's clock may jump",
        ),
    }
}

fn processor(machine: &Hardware) -> Finding {
    let cpuinfo = machine.text("/proc/cpuinfo").unwrap_or_default();
    let value = |name: &str| {
        let line = cpuinfo.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    match (value("model name"), value("microcode")) {
        (Some(model), microcode) => Finding::good(
            "processor",
            format!("{model}, microcode {}; {MODEL}", microcode.as_deref().unwrap_or("unknown")),
        ),
        (None, _) => Finding::bad("processor", "unknown", format!("{}: {MODEL}", consts::ARCH)),
    }
}

fn nested(machine: &Hardware) -> Finding {
    let on = ["kvm_amd", "kvm_intel"].into_iter().find(|module| {
        let parameter = Path::new("/sys/module").join(module).join("parameters/nested");
        let text = machine.text(&parameter.display().to_string());
        text.is_some_and(|text| matches!(&*text, "1" | "Y"))
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

/// A NIC, and what keeps it from a guest.
pub(super) fn describe(nic: &Nic) -> String {
    let Nic { address, id, driver, group, companions, interfaces, carries, .. } = nic;
    let mut text = format!("{address} {id}");
    if nic.is_virtual {
        text += ", a virtual function";
    }
    if !interfaces.is_empty() {
        text += &format!(", {}", interfaces.join(", "));
    }
    text += &format!(", bound to {}", driver.as_deref().unwrap_or("no driver"));
    text += &match (group, carries) {
        (_, Some(why)) => format!(": stays this machine's, since {why}"),
        (None, _) => ": in no IOMMU group".into(),
        (Some(group), _) if !companions.is_empty() => {
            format!(": shares IOMMU group {group} with {}", companions.join(", "))
        }
        (Some(group), _) if nic.is_held => {
            format!(": a program has it already, as `fuser -v /dev/vfio/{group}` tells")
        }
        _ if nic.is_given() => ": is a guest's to have".into(),
        _ => format!(": spare; `run --nic vfio:{address}` takes it, and gives it back"),
    };
    if nic.is_given() && nic.is_candidate() {
        text += &format!("; to have it back:\n{}", indent(&hardware::give_back(address)));
    }
    text
}

fn indent(text: &str) -> String {
    text.lines().map(|line| format!("      -> {line}")).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests;

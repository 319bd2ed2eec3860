//! `cargo xtask doctor`.

mod finding;
mod host;
mod software;

use std::{fs, path::Path};

use anyhow::{Context, Result};
use lab::{
    build::{application, qemu},
    choices::QemuKind,
    guest::{
        accel::{self, Trial},
        machine,
    },
    hardware::Hardware,
    parts::Qemu,
    system::tools,
};
use serde::Serialize;

use finding::Finding;

use crate::{cli::Doctor, ending::Ending};

/// All that was found.
#[derive(Debug, Serialize)]
struct Findings {
    /// Whether guests can be given two of this machine's NICs, to migrate between them.
    ready: bool,
    software: Vec<Finding>,
    hardware: Vec<Finding>,
    nics: Vec<lab::hardware::Nic>,
}

pub(crate) fn main(options: &Doctor) -> Result<Ending> {
    println!("For demo, migrate, test and run:");
    let software = software::findings();
    print(&software);
    if software.iter().all(|finding| finding.good) {
        println!("Demo, migrate, test and run have all they need, without any of what follows.");
    }
    println!("\nFor guests with this machine's own NICs:");
    let this = Hardware::here();
    let me = host::Me::now();
    let qemu = any_qemu();
    let mut hardware = vec![
        host::qemu(qemu.as_ref()),
        host::kvm(&try_kvm(qemu.as_ref(), options.image.as_deref())),
    ];
    hardware.extend(host::findings(&this, &me));
    print(&hardware);
    let nics = this.nics();
    // What a guest has drivers for, this side does not know.
    println!(
        "\nIts NICs, whether Godwit has a driver for them or not (docs/drivers.md has a list):"
    );
    for nic in &nics {
        println!("  {}", host::describe(nic));
    }
    let ready = is_ready(&hardware);
    println!(
        "\n{}",
        if ready {
            "Guests can be given two NICs of this machine."
        } else {
            "Guests cannot be given two NICs of this machine yet: see `no` above, where `needed`."
        }
    );
    if let Some(path) = &options.json {
        let found = Findings { ready, software, hardware, nics };
        let text = serde_json::to_string_pretty(&found)? + "\n";
        fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(if ready { Ending::AsAsked } else { Ending::Failed })
}

/// What keeps this machine from running two guests with NICs that were named, whichever QEMU runs
/// them, each with what to do about it.
pub(crate) fn missing_of_machine() -> Vec<String> {
    unmet(host::of_machine(&Hardware::here(), &host::Me::now()))
}

/// The same of that QEMU there.
pub(crate) fn missing_of_qemu(qemu: &Qemu, image: Option<&Path>, kind: QemuKind) -> Vec<String> {
    let mut findings = vec![host::kvm(&try_kvm(Some(qemu), image))];
    if kind == QemuKind::Patched {
        findings.push(host::qemu(Some(qemu)));
    }
    unmet(findings)
}

fn unmet(findings: Vec<Finding>) -> Vec<String> {
    let unmet = findings.into_iter().filter(|finding| finding.required && !finding.good);
    let say = |Finding { subject, what, remedy, .. }: Finding| {
        // What nobody knows a remedy for has none to be shown.
        let remedy = remedy.unwrap_or_default();
        let lines = remedy.lines().map(|line| format!("\n    -> {line}"));
        format!("  {subject}: {what}{}", lines.collect::<String>())
    };
    unmet.map(say).collect()
}

fn is_ready(findings: &[Finding]) -> bool {
    findings.iter().all(|finding| finding.good || !finding.required)
}

fn print(findings: &[Finding]) {
    for Finding { subject, good, what, remedy, required } in findings {
        let needed = if *required && !good { ", needed" } else { "" };
        println!("  {} {subject:<16} {what}{needed}", if *good { "yes" } else { "no " });
        for line in remedy.iter().flat_map(|remedy| remedy.lines()) {
            println!("      {:<16} -> {line}", "");
        }
    }
}

/// A QEMU that is there: the one with the capability before others. A build of five minutes is too
/// much for a question.
fn any_qemu() -> Option<Qemu> {
    let installed = tools::find_program("qemu-system-x86_64").is_some();
    let installed = if installed { machine::qemu().ok() } else { None };
    let has_capability = |qemu: &Qemu| machine::has_capability(qemu).unwrap_or(false);
    let built = || qemu::built().ok().flatten();
    installed.clone().filter(has_capability).or_else(built).or(installed)
}

/// `Err` with why it was not tried.
fn try_kvm(qemu: Option<&Qemu>, image: Option<&Path>) -> Result<Trial, String> {
    let Some(qemu) = qemu else { return Err("there is no QEMU yet".into()) };
    let image = match image {
        Some(image) => Ok(image.to_path_buf()),
        // A guest that tries it. The first time it is built, which is seen.
        None => application::ours(),
    };
    image.and_then(|image| accel::try_kvm(qemu, &image)).map_err(|error| format!("{error:#}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_has_its_remedy_line_by_line_or_none() {
        let missing = unmet(vec![
            Finding::bad("KVM", "not tried", "").required(),
            Finding::bad("IOMMU", "no groups", "one\ntwo").required(),
            Finding::bad("huge pages", "none", "some"),
        ]);
        assert_eq!(missing, ["  KVM: not tried", "  IOMMU: no groups\n    -> one\n    -> two"]);
    }

    #[test]
    fn only_what_is_required_keeps_a_machine_from_being_ready() {
        let wish = Finding::bad("huge pages", "none", "");
        assert!(is_ready(&[Finding::good("KVM", "").required(), wish.clone()]));
        assert!(!is_ready(&[wish.required()]));
    }
}

//! What a result says of the machine and the programs it was measured with.

use std::process::Command;

use super::parts::{LabParts, Place};
use crate::{
    build::{crates, qemu},
    choices::{ClockKind, LabKind, QemuKind},
    result::Facts,
};

pub(super) fn facts(clock: ClockKind, kind: QemuKind, parts: &LabParts) -> Facts {
    let version = Command::new(&parts.machines.binary).arg("--version").output();
    let version = version.map(|out| String::from_utf8_lossy(&out.stdout).into_owned());
    let first = version.as_deref().unwrap_or_default().lines().next().unwrap_or_default();
    let image = match &parts.place {
        Place::Nested { kernel, .. } => kernel.image.file_name().unwrap_or_default(),
        Place::Local { .. } | Place::Host { .. } => Default::default(),
    };
    Facts {
        qemu: first.trim_start_matches("QEMU emulator version ").into(),
        host_kernel: image.to_string_lossy().trim_start_matches("vmlinuz-").into(),
        lab_accelerator: match &parts.place {
            Place::Nested { .. } | Place::Local { .. } => "tcg".into(),
            Place::Host { .. } => String::new(),
        },
        lab_clock: Some(clock),
        revision: crates::revision(),
        qemu_kind: Some(kind),
        // Not that of the lab's host: empty for stock QEMU.
        patches: qemu::name(&parts.machines),
        command: std::env::args().skip(1).fold("cargo xtask".into(), |line, arg| line + " " + &arg),
        ..Facts::of_this_machine()
    }
}

/// Which lab it is.
pub(super) fn kind(parts: &LabParts) -> LabKind {
    match parts.place {
        Place::Nested { .. } => LabKind::Nested,
        Place::Local { .. } => LabKind::Local,
        Place::Host { .. } => LabKind::Host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parts::Qemu;

    #[test]
    fn the_qemu_that_is_told_is_the_one_of_the_machines() {
        let qemu = |binary: &str| Qemu { binary: binary.into(), data: Vec::new() };
        let patched = qemu("/cache/qemu-11.1.1-0123/bin/qemu-system-x86_64");
        let facts = |kind, machines| {
            let (initramfs, _linux, model, destination) = (None, None, None, None);
            let guest = "guest".into();
            let place = Place::Local { guest, initramfs, _linux, model, destination };
            let parts = LabParts { qemu: patched.clone(), machines, place };
            facts(ClockKind::Real, kind, &parts)
        };
        let stock = facts(QemuKind::Stock, qemu("/nonexistent/qemu-system-x86_64"));
        assert_eq!((stock.qemu_kind, &*stock.patches), (Some(QemuKind::Stock), ""));
        let patched = facts(QemuKind::Patched, patched.clone());
        assert_eq!(patched.patches, "11.1.1-0123");
    }
}

//! The host's second processor, and why it comes late.
//!
//! Linux rewrites its own code where a static key changes: a breakpoint first, then the rest, with
//! all processors told in between. TCG with a thread for each processor does not always keep up:
//! one of them runs the breakpoint when it is gone already, and Linux stops with an int3 oops.
//! KVM's keys change with the first machine, and each time the last machine whose APIC is still off
//! turns it on. So they get their final values while there is one processor, and a machine that
//! never runs keeps them there.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use kvm_ioctls::{Kvm, VcpuFd, VmFd};

/// A machine that never runs.
pub(crate) struct Machine {
    _vcpu: VcpuFd,
    _vm: VmFd,
}

/// Lets KVM change what it will of the kernel's code, then starts the other processors, which
/// `maxcpus=1` had kept off.
pub(crate) fn settle_kvm() -> Result<Machine> {
    let kvm = Kvm::new().context(
        "/dev/kvm cannot be opened: does the CPU of the virtual host show neither SVM nor VMX?",
    )?;
    let vm = kvm.create_vm().context("create a machine")?;
    vm.create_irq_chip().context("give a machine its interrupt controllers")?;
    let vcpu = vm.create_vcpu(0).context("give a machine a processor")?;
    for cpu in 1.. {
        let online = format!("/sys/devices/system/cpu/cpu{cpu}/online");
        if !Path::new(&online).exists() {
            break;
        }
        fs::write(&online, "1").context(online)?;
    }
    Ok(Machine { _vcpu: vcpu, _vm: vm })
}

/// How many processors run.
pub(crate) fn count() -> usize {
    std::thread::available_parallelism().map_or(0, usize::from)
}

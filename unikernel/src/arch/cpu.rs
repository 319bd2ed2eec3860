//! What the processor offers (Intel SDM volume 2, CPUID; KVM's leaves: Linux
//! Documentation/virt/kvm/x86/cpuid.rst).

use core::arch::x86_64::{__cpuid, __cpuid_count, _rdtsc, CpuidResult};

/// Where hypervisors put their leaves: one may stack another's interface behind its own.
const HYPERVISOR_LEAVES: [u32; 2] = [0x4000_0000, 0x4000_0100];

fn leaf(leaf: u32) -> CpuidResult {
    let top = __cpuid(leaf & 0xc000_0000).eax;
    if leaf > top { CpuidResult { eax: 0, ebx: 0, ecx: 0, edx: 0 } } else { __cpuid_count(leaf, 0) }
}

/// x2APIC mode.
pub(crate) fn has_x2apic() -> bool {
    leaf(1).ecx & 1 << 21 != 0
}

/// The local APIC timer's TSC-deadline mode.
pub(crate) fn has_tsc_deadline() -> bool {
    leaf(1).ecx & 1 << 24 != 0
}

/// 1 GiB pages.
pub(crate) fn has_gib_pages() -> bool {
    __cpuid(0x8000_0000).eax >= 0x8000_0001 && __cpuid(0x8000_0001).edx & 1 << 26 != 0
}

/// KVM's paravirtual clock with its current MSR numbers (`KVM_FEATURE_CLOCKSOURCE2`).
pub(crate) fn has_kvmclock() -> bool {
    kvm_features() & 1 << 3 != 0
}

/// KVM's end of interrupt through memory (`KVM_FEATURE_PV_EOI`).
pub(crate) fn has_pv_eoi() -> bool {
    kvm_features() & 1 << 6 != 0
}

/// What the hypervisor says of the TSC's frequency, in kHz; 0 if it says nothing, or there is none.
pub(crate) fn hypervisor_tsc_khz() -> u32 {
    const TIMING: u32 = HYPERVISOR_LEAVES[0] + 0x10;
    let has_leaf = has_hypervisor() && __cpuid(HYPERVISOR_LEAVES[0]).eax >= TIMING;
    if has_leaf { __cpuid(TIMING).eax } else { 0 }
}

/// The TSC's ratio to the crystal (denominator, numerator) and that one's frequency, as far as
/// known.
pub(crate) fn crystal() -> [u32; 3] {
    let CpuidResult { eax, ebx, ecx, .. } = leaf(0x15);
    [eax, ebx, ecx]
}

fn has_hypervisor() -> bool {
    leaf(1).ecx & 1 << 31 != 0
}

/// What KVM offers; 0 on another hypervisor or none.
fn kvm_features() -> u32 {
    if !has_hypervisor() {
        return 0;
    }
    let base = HYPERVISOR_LEAVES.into_iter().find(|&base| {
        let signature = __cpuid(base);
        [signature.ebx, signature.ecx, signature.edx].map(u32::to_le_bytes)
            == [*b"KVMK", *b"VMKV", *b"M\0\0\0"]
    });
    base.map_or(0, |base| __cpuid(base + 1).eax)
}

/// The time stamp counter.
pub(crate) fn tsc() -> u64 {
    // SAFETY: every 64-bit processor has it, and CR4.TSD is clear.
    unsafe { _rdtsc() }
}

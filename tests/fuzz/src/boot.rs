//! What a machine is booted with: the command line, and ACPI's tables.

use std::fmt::Display;
use std::str::FromStr;

use unikernel::acpi;
use unikernel::cmdline::{CommandLine, LogLevel, Size, Switch};
use unikernel::net::{Addressing, Addressing6, Ipv4Address, NameServers};
use unikernel::nic::{Mtu, Queues};

/// A line, all of whose keys are asked for.
pub(crate) fn command_line(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let line = CommandLine::new(&text);
    ask::<Size>(&line, &["swiotlb", "recorder"]);
    ask::<LogLevel>(&line, &["log"]);
    ask::<Switch>(&line, &["promiscuous"]);
    ask::<Addressing>(&line, &["ip"]);
    ask::<Addressing6>(&line, &["ip6"]);
    ask::<Ipv4Address>(&line, &["gw"]);
    ask::<NameServers>(&line, &["dns"]);
    ask::<Mtu>(&line, &["mtu"]);
    ask::<Queues>(&line, &["queues"]);
    if let Ok(Some(size)) = line.parse::<Size>("swiotlb") {
        assert_eq!(size.to_string().parse(), Ok(size), "what is written is read");
    }
    if let Ok(Some(servers)) = line.parse::<NameServers>("dns") {
        assert!(servers.iter().all(|server| !server.is_multicast()), "{servers:?}");
    }
    let words = text.split_ascii_whitespace();
    for unknown in line.unknown() {
        assert!(words.clone().any(|word| word == unknown), "{unknown:?} was not said");
    }
}

fn ask<T: FromStr<Err: Display>>(line: &CommandLine<'_>, keys: &[&str]) {
    for key in keys {
        for bad in [line.parse::<T>(key).err(), line.check::<T>(key).err()].into_iter().flatten() {
            assert!(!bad.to_string().is_empty(), "it says what is wrong");
        }
    }
}

/// Lines as people write them.
pub(crate) fn command_lines() -> Vec<Vec<u8>> {
    [
        "ip=10.0.2.15/24 gw=10.0.2.2 dns=10.0.2.3,fd00::3 ip6=fd00::1/64 nic1.ip=dhcp nic1.mtu=9",
        "ip=off ip6=auto swiotlb=3g recorder=1k log=debug promiscuous=on queues=4 vlan=4094",
        "swiotlb=18446744073709551615K nic0.ip=x nic01.ip=dhcp nic18446744073709551616.ip=a =b c=",
        "ip=10.0.0.1/33 gw=0.0.0.0 mtu=0 vlan=none queues=-1 log=loud dns=1.1.1.1,,",
    ]
    .map(|line| line.as_bytes().to_vec())
    .into()
}

/// Where the root pointer is in an input.
const RSDP: u64 = 0;
const HEADER: usize = 36;
const SIGNATURES: [&[u8]; 5] = [b"XSDT", b"RSDT", b"MCFG", b"FACP", b"APIC"];

/// Physical memory with tables in it. Their sums are made right, or none would be looked at.
pub(crate) fn acpi(input: &[u8]) {
    let mut memory = input.to_vec();
    mend(&mut memory);
    let tables = acpi::read(RSDP, &|at, len| {
        let at = usize::try_from(at).ok()?;
        memory.get(at..at.checked_add(len)?)
    });
    for range in tables.iter().flat_map(|tables| &tables.ecam) {
        assert!(range.first_bus <= range.last_bus, "{range:?}");
        let end = range.base.checked_add((u64::from(range.last_bus) + 1) << 20);
        assert!(end.is_some(), "{range:?} wraps around");
    }
}

fn mend(memory: &mut [u8]) {
    for at in 0..memory.len().saturating_sub(HEADER) {
        if SIGNATURES.iter().any(|signature| memory[at..].starts_with(signature)) {
            let len: [u8; 4] = memory[at + 4..at + 8].try_into().expect("four");
            if let Some(table) = memory[at..].get_mut(..u32::from_le_bytes(len) as usize) {
                balance(table, 9);
            }
        }
    }
    for (len, sum) in [(20, 8), (36, 32)] {
        if let Some(pointer) = memory.get_mut(..len) {
            balance(pointer, sum);
        }
    }
}

/// Makes bytes add up to zero by the one at `sum`.
fn balance(bytes: &mut [u8], sum: usize) {
    let Some(rest) = bytes.get(sum) else { return };
    let all = bytes.iter().fold(0u8, |all, &byte| all.wrapping_add(byte));
    bytes[sum] = rest.wrapping_sub(all);
}

/// A q35's, by either root table.
pub(crate) fn tables() -> Vec<Vec<u8>> {
    [false, true].map(machine).into()
}

fn machine(has_xsdt: bool) -> Vec<u8> {
    const ROOT: usize = 0x40;
    const MCFG: usize = 0x80;
    const FADT: usize = 0xc0;
    const MADT: usize = 0x1c0;
    let mut memory = vec![0; 0x200];
    let mut put = |at: usize, bytes: &[u8]| memory[at..][..bytes.len()].copy_from_slice(bytes);
    put(0, b"RSD PTR ");
    put(if has_xsdt { 24 } else { 16 }, &[ROOT as u8, 0, 0, 0]);
    put(15, &[if has_xsdt { 2 } else { 0 }]);
    let mut table = |at: usize, signature: &[u8; 4], body: &[u8]| {
        put(at, signature);
        put(at + 4, &((HEADER + body.len()) as u32).to_le_bytes());
        put(at + HEADER, body);
    };
    let entries: Vec<u8> = [MCFG, FADT, MADT]
        .iter()
        .flat_map(|&at| (at as u64).to_le_bytes().into_iter().take(if has_xsdt { 8 } else { 4 }))
        .collect();
    table(ROOT, if has_xsdt { b"XSDT" } else { b"RSDT" }, &entries);
    let mut mcfg = [0; 24];
    mcfg[8..].copy_from_slice(&[0, 0, 0, 0xb0, 0, 0, 0, 0, 0, 0, 0, 255, 0, 0, 0, 0]);
    table(MCFG, b"MCFG", &mcfg);
    let mut fadt = [0; 208];
    for (at, byte) in [(46, 9), (48, 0xb2), (52, 2), (57, 6), (64, 4), (65, 6), (76, 8), (77, 6)] {
        fadt[at - HEADER] = byte;
    }
    for (at, byte) in [(88, 4), (91, 4), (108, 0x32), (148 - 36, 1)] {
        fadt[at - HEADER] = byte;
    }
    table(FADT, b"FACP", &fadt);
    table(MADT, b"APIC", &[0, 0, 0xe0, 0xfe, 1, 0, 0, 0]);
    memory
}

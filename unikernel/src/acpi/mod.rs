//! The few ACPI tables the kernel needs, read without an AML interpreter.
//!
//! Tables come from firmware and are not trusted: lengths and checksums are checked, and a table
//! that is wrong is named and left out. Layouts: ACPI 6.5, chapter 5.2; MCFG: PCI Firmware 3.3,
//! section 4.1.2.

mod fadt;
mod field;

pub use fadt::{Fadt, PmTimer, PowerButton, Rtc};
pub use field::Error;
use field::{u16_at, u32_at, u64_at};

/// Length of the header every table starts with.
const HEADER: usize = 36;
/// A table longer than this is not believed; real ones are a few hundred KiB at most.
const TABLE_MAX: usize = 1 << 20;
/// Entries of the root table that are looked at.
const ROOT_MAX: usize = 256;

/// Reads physical memory: `None` where there is none.
pub type Memory<'m> = dyn Fn(u64, usize) -> Option<&'m [u8]> + 'm;

/// A segment's memory-mapped PCI configuration space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EcamRange {
    /// Physical address of bus 0's configuration space, whatever the first bus is.
    pub base: u64,
    /// PCI segment group.
    pub segment: u16,
    /// First bus that is mapped.
    pub first_bus: u8,
    /// Last bus that is mapped.
    pub last_bus: u8,
}

/// What the tables say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tables {
    /// Configuration spaces, from the MCFG.
    pub ecam: heapless::Vec<EcamRange, 8>,
    /// Fixed hardware, from the FADT.
    pub fadt: Fadt,
    /// Whether the MADT says that the machine has 8259 interrupt controllers.
    pub has_8259: bool,
}

/// Reads the tables that the root pointer at `rsdp` leads to.
///
/// Tables that are wrong are logged and left out; missing ones leave their fields at the default.
///
/// # Errors
/// The root pointer or the root table cannot be used, so there are no tables at all.
pub fn read<'m>(rsdp: u64, memory: &Memory<'m>) -> Result<Tables, Error> {
    let (root, entry_size) = root_table(rsdp, memory)?;
    let mut tables = Tables::default();
    for entry in root[HEADER..].chunks_exact(entry_size).take(ROOT_MAX) {
        let mut address = [0; 8];
        address[..entry_size].copy_from_slice(entry);
        let address = u64::from_le_bytes(address);
        let Some(signature) = memory(address, 4) else {
            log::warn!("ACPI: a table at {address:#x} is out of reach; left out");
            continue;
        };
        let parse: fn(&[u8], &mut Tables) -> Result<(), Error> = match signature {
            b"MCFG" => read_mcfg,
            b"FACP" => read_fadt,
            b"APIC" => read_madt,
            _ => continue,
        };
        if let Err(error) = table(address, memory).and_then(|table| parse(table, &mut tables)) {
            let name = core::str::from_utf8(signature).unwrap_or_default();
            log::warn!("ACPI: table {name} left out: {error}");
        }
    }
    Ok(tables)
}

/// The root table and the size of its entries: the XSDT where there is one, else the RSDT.
fn root_table<'m>(rsdp: u64, memory: &Memory<'m>) -> Result<(&'m [u8], usize), Error> {
    const V1: usize = 20;
    const V2: usize = 36;
    let pointer = memory(rsdp, V1).ok_or(Error::OutOfReach)?;
    if !pointer.starts_with(b"RSD PTR ") {
        return Err(Error::Signature);
    }
    if !adds_up(pointer) {
        return Err(Error::Checksum);
    }
    let revision = pointer[15];
    let mut address = u64::from(u32_at(pointer, 16).unwrap_or(0));
    let mut root = (*b"RSDT", 4);
    if revision >= 2 {
        let pointer = memory(rsdp, V2).ok_or(Error::OutOfReach)?;
        if !adds_up(pointer) {
            return Err(Error::Checksum);
        }
        if let Some(xsdt @ 1..) = u64_at(pointer, 24) {
            address = xsdt;
            root = (*b"XSDT", 8);
        }
    }
    let (signature, entry_size) = root;
    let table = table(address, memory)?;
    if table.starts_with(&signature) { Ok((table, entry_size)) } else { Err(Error::Signature) }
}

/// A whole table, at least as long as its header, its checksum right.
fn table<'m>(address: u64, memory: &Memory<'m>) -> Result<&'m [u8], Error> {
    let header = memory(address, HEADER).ok_or(Error::OutOfReach)?;
    let len = u32_at(header, 4).unwrap_or(0) as usize;
    if !(HEADER..=TABLE_MAX).contains(&len) {
        return Err(Error::Length);
    }
    let table = memory(address, len).ok_or(Error::OutOfReach)?;
    if adds_up(table) { Ok(table) } else { Err(Error::Checksum) }
}

fn read_mcfg(table: &[u8], tables: &mut Tables) -> Result<(), Error> {
    const ENTRIES: usize = HEADER + 8;
    const ENTRY: usize = 16;
    let entries = table.get(ENTRIES..).ok_or(Error::Length)?;
    for entry in entries.chunks_exact(ENTRY) {
        let base = u64_at(entry, 0).ok_or(Error::Length)?;
        let segment = u16_at(entry, 8).ok_or(Error::Length)?;
        let range = EcamRange { base, segment, first_bus: entry[10], last_bus: entry[11] };
        let end = base.checked_add((u64::from(range.last_bus) + 1) << 20);
        if range.first_bus > range.last_bus || base % (1 << 20) != 0 || end.is_none() {
            log::warn!("ACPI: MCFG: segment {segment} at {base:#x} makes no sense; left out");
        } else if tables.ecam.push(range).is_err() {
            log::warn!("ACPI: MCFG: more segments than expected; segment {segment} left out");
        }
    }
    Ok(())
}

fn read_fadt(table: &[u8], tables: &mut Tables) -> Result<(), Error> {
    tables.fadt = Fadt::parse(table)?;
    Ok(())
}

fn read_madt(table: &[u8], tables: &mut Tables) -> Result<(), Error> {
    const FLAGS: usize = 40;
    const PCAT_COMPAT: u32 = 1;
    tables.has_8259 = u32_at(table, FLAGS).ok_or(Error::Length)? & PCAT_COMPAT != 0;
    Ok(())
}

fn adds_up(bytes: &[u8]) -> bool {
    bytes.iter().fold(0u8, |sum, &byte| sum.wrapping_add(byte)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    const RSDP: u64 = 0x100;
    const ROOT: u64 = 0x200;
    const MCFG: u64 = 0x400;
    const FADT: u64 = 0x500;
    const MADT: u64 = 0x700;

    fn balance(table: &mut [u8], checksum: usize) {
        table[checksum] = 0;
        let sum = table.iter().fold(0u8, |sum, &byte| sum.wrapping_add(byte));
        table[checksum] = sum.wrapping_neg();
    }

    fn table_of(signature: &[u8; 4], body: &[u8]) -> Vec<u8> {
        let mut table = std::vec![0; HEADER];
        table[..4].copy_from_slice(signature);
        table[4..8].copy_from_slice(&((HEADER + body.len()) as u32).to_le_bytes());
        table.extend_from_slice(body);
        balance(&mut table, 9);
        table
    }

    /// What q35's has behind the header.
    fn fadt() -> [u8; 208] {
        let mut fadt = [0; 208];
        let mut put = |at: usize, bytes: &[u8]| {
            fadt[at - HEADER..][..bytes.len()].copy_from_slice(bytes);
        };
        put(46, &9u16.to_le_bytes());
        put(48, &0xb2u32.to_le_bytes());
        put(52, &[2]);
        put(56, &0x600u32.to_le_bytes());
        put(64, &0x604u32.to_le_bytes());
        put(76, &0x608u32.to_le_bytes());
        put(88, &[4]);
        put(91, &[4]);
        put(108, &[0x32]);
        fadt
    }

    /// What a machine's FADT says that differs from q35's in these bytes, at offsets in the table.
    fn fadt_with(changes: &[(usize, &[u8])]) -> Fadt {
        let mut fadt = fadt();
        for (at, bytes) in changes {
            fadt[at - HEADER..][..bytes.len()].copy_from_slice(bytes);
        }
        let mut memory = machine(true);
        let table = table_of(b"FACP", &fadt);
        memory[FADT as usize..][..table.len()].copy_from_slice(&table);
        read_from(&memory).unwrap().fadt
    }

    /// Physical memory with q35's tables in it.
    fn machine(xsdt: bool) -> Vec<u8> {
        let mut memory = std::vec![0; 0x1000];
        let mut put = |at: u64, bytes: &[u8]| {
            memory[at as usize..][..bytes.len()].copy_from_slice(bytes);
        };
        let mut pointer = [0; 36];
        pointer[..8].copy_from_slice(b"RSD PTR ");
        if xsdt {
            pointer[15] = 2;
            pointer[20] = 36;
            pointer[24..32].copy_from_slice(&ROOT.to_le_bytes());
            balance(&mut pointer[..20], 8);
            balance(&mut pointer, 32);
        } else {
            pointer[16..20].copy_from_slice(&(ROOT as u32).to_le_bytes());
            balance(&mut pointer[..20], 8);
        }
        put(RSDP, &pointer);

        let mut entries = Vec::new();
        for table in [MCFG, FADT, MADT] {
            let bytes = table.to_le_bytes();
            entries.extend_from_slice(if xsdt { &bytes } else { &bytes[..4] });
        }
        put(ROOT, &table_of(if xsdt { b"XSDT" } else { b"RSDT" }, &entries));

        let mut mcfg = [0; 24];
        mcfg[8..16].copy_from_slice(&0xb000_0000u64.to_le_bytes());
        mcfg[19] = 255;
        put(MCFG, &table_of(b"MCFG", &mcfg));

        put(FADT, &table_of(b"FACP", &fadt()));
        put(MADT, &table_of(b"APIC", &[0, 0, 0xe0, 0xfe, 1, 0, 0, 0]));
        memory
    }

    fn read_from(bytes: &[u8]) -> Result<Tables, Error> {
        read(RSDP, &|at, len| {
            let at = usize::try_from(at).ok()?;
            bytes.get(at..at.checked_add(len)?)
        })
    }

    fn expected() -> Tables {
        let range = EcamRange { base: 0xb000_0000, segment: 0, first_bus: 0, last_bus: 255 };
        Tables {
            ecam: [range].into_iter().collect(),
            fadt: Fadt {
                pm_timer: Some(PmTimer { port: 0x608 }),
                pm1a_control: Some(0x604),
                power_button: Some(PowerButton {
                    line: 9,
                    status: [0x600].into_iter().collect(),
                    enable: 2,
                    control: 0x604,
                    acpi_mode: Some((0xb2, 2)),
                }),
                rtc: Some(Rtc { century: Some(0x32) }),
            },
            has_8259: true,
        }
    }

    #[test]
    fn q35_by_xsdt_and_by_rsdt() {
        assert_eq!(read_from(&machine(true)), Ok(expected()));
        assert_eq!(read_from(&machine(false)), Ok(expected()));
    }

    #[test]
    fn a_bad_table_is_left_out_and_the_others_are_read() {
        let mut memory = machine(true);
        memory[MCFG as usize + 20] ^= 1;
        assert_eq!(read_from(&memory), Ok(Tables { ecam: Default::default(), ..expected() }));
    }

    #[test]
    fn a_table_shorter_than_its_fields_is_left_out() {
        let mut memory = machine(true);
        let short = table_of(b"FACP", &[0; 20]);
        memory[FADT as usize..][..short.len()].copy_from_slice(&short);
        let tables = read_from(&memory).unwrap();
        assert_eq!(tables, Tables { fadt: Fadt::default(), ..expected() });
    }

    #[test]
    fn fixed_hardware_that_is_not_there_is_not_used() {
        let reduced = fadt_with(&[(112, &(1u32 << 20).to_le_bytes())]);
        assert_eq!(reduced, Fadt::default());
        let button_elsewhere = fadt_with(&[(112, &(1u32 << 4).to_le_bytes())]);
        assert_eq!(button_elsewhere, Fadt { power_button: None, ..expected().fadt });
        assert_eq!(fadt_with(&[(109, &[1 << 5])]).rtc, None);
        assert_eq!(fadt_with(&[(108, &[0])]).rtc, Some(Rtc { century: None }));
        assert_eq!(fadt_with(&[(91, &[3])]).pm_timer, None);
    }

    #[test]
    fn newer_fields_say_where_registers_are_unless_they_are_empty_or_no_ports() {
        let field = |space: u8, address: u64| {
            let mut field = [space, 32, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0];
            field[4..].copy_from_slice(&address.to_le_bytes());
            field
        };
        let timer = |space, address| fadt_with(&[(208, &field(space, address))]).pm_timer;
        assert_eq!(timer(1, 0x808), Some(PmTimer { port: 0x808 }));
        assert_eq!(timer(1, 0), Some(PmTimer { port: 0x608 }));
        assert_eq!(timer(0, 0xfed0_0000), Some(PmTimer { port: 0x608 }));
        assert_eq!(timer(1, 0x1_0000), None);
        let only_newer = fadt_with(&[(76, &[0; 4]), (208, &field(1, 0x808))]);
        assert_eq!(only_newer.pm_timer, Some(PmTimer { port: 0x808 }));
        let two = fadt_with(&[(148, &field(1, 0x400)), (60, &0x500u32.to_le_bytes())]);
        let two = two.power_button.unwrap();
        assert_eq!(two.status.as_slice(), [0x400, 0x500]);
        assert_eq!(fadt_with(&[(172, &field(1, 0x404))]).pm1a_control, Some(0x404));
    }

    #[test]
    fn senseless_configuration_spaces_are_left_out() {
        for (offset, value) in [(10, 1u8), (0, 1), (7, 0xff)] {
            let mut memory = machine(true);
            let entry = MCFG as usize + HEADER + 8;
            memory[entry + offset] = value;
            memory[entry + 11] = if offset == 10 { 0 } else { 255 };
            // Bits 32 to 55 too, so that the top byte makes the end overflow.
            if offset == 7 {
                memory[entry + 3..entry + 7].fill(0xff);
            }
            balance(&mut memory[MCFG as usize..][..HEADER + 24], 9);
            assert!(read_from(&memory).unwrap().ecam.is_empty(), "offset {offset}");
        }
    }

    #[test]
    fn a_root_that_is_wrong_is_an_error() {
        let with = |at: u64, value: u8| {
            let mut memory = machine(true);
            memory[at as usize] = value;
            read_from(&memory)
        };
        assert_eq!(with(RSDP, b'X'), Err(Error::Signature));
        assert_eq!(with(RSDP + 16, 1), Err(Error::Checksum));
        assert_eq!(with(RSDP + 33, 1), Err(Error::Checksum));
        assert_eq!(with(ROOT + 4, 10), Err(Error::Length));
        assert_eq!(with(ROOT + 7, 0xff), Err(Error::Length));
        assert_eq!(with(ROOT + 6, 0x01), Err(Error::OutOfReach));
        assert_eq!(read(u64::MAX, &|_, _| None), Err(Error::OutOfReach));
    }

    #[test]
    fn no_single_corrupt_byte_does_worse_than_an_error() {
        let good = machine(true);
        for at in 0..good.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut memory = good.clone();
                memory[at] = value;
                let _ = read_from(&memory);
            }
        }
    }
}

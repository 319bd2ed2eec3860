//! A CD that UEFI firmware boots: ISO 9660 (ECMA-119) with an El Torito boot catalogue, whose one
//! entry is a FAT volume. Firmware looks into that alone; the volume is a file of the CD as well,
//! so that people find it.

use anyhow::{Context, Result, ensure};

/// Of a CD.
const SECTOR: usize = 2048;
/// The unit that the catalogue counts in.
const BLOCK: usize = 512;

/// What is where, in sectors. The first sixteen are not the standard's.
const PRIMARY: usize = 16;
const BOOT_RECORD: usize = 17;
const TERMINATOR: usize = 18;
const CATALOGUE: usize = 19;
/// With the low byte first, and with the high byte first.
const PATHS: [usize; 2] = [20, 21];
const ROOT: usize = 22;
const VOLUME: usize = 23;

/// Platform of a boot catalogue that is for UEFI (UEFI 2.10, 13.3.2.1).
const UEFI: u8 = 0xef;
/// Bootable, and no disk is emulated.
const BOOTABLE: u8 = 0x88;
/// Length of the only entry of a path table: the root.
const PATH_ENTRY: u32 = 10;
const DIRECTORY: u8 = 2;

/// Puts a FAT volume on a CD.
///
/// # Errors
/// The volume is larger than a catalogue can say.
pub(crate) fn with(volume: &[u8]) -> Result<Vec<u8>> {
    let blocks = u16::try_from(volume.len() / BLOCK).context("the volume is too large for a CD")?;
    ensure!(volume.len().is_multiple_of(BLOCK), "a volume is whole sectors");
    let sectors = VOLUME + volume.len().div_ceil(SECTOR);
    let mut cd = vec![0; sectors * SECTOR];
    let size = u32::try_from(volume.len())?;
    let root = entry(b"\0", ROOT as u32, SECTOR as u32, DIRECTORY);
    primary(&mut cd[PRIMARY * SECTOR..][..SECTOR], sectors as u32, &root);
    let record = &mut cd[BOOT_RECORD * SECTOR..][..SECTOR];
    descriptor(record, 0);
    put(record, 7, b"EL TORITO SPECIFICATION");
    put(record, 71, &(CATALOGUE as u32).to_le_bytes());
    descriptor(&mut cd[TERMINATOR * SECTOR..][..SECTOR], 255);
    catalogue(&mut cd[CATALOGUE * SECTOR..][..SECTOR], blocks);
    let at = ROOT as u32;
    for (sector, place) in PATHS.into_iter().zip([at.to_le_bytes(), at.to_be_bytes()]) {
        let table = &mut cd[sector * SECTOR..][..SECTOR];
        // A name of one byte, and the root is its own parent, number 1.
        table[0] = 1;
        put(table, 2, &place);
        let parent = if sector == PATHS[0] { [1, 0] } else { [0, 1] };
        put(table, 6, &parent);
    }
    let parent = entry(b"\x01", ROOT as u32, SECTOR as u32, DIRECTORY);
    let file = entry(b"EFI.IMG;1", VOLUME as u32, size, 0);
    put(&mut cd, ROOT * SECTOR, &[root, parent, file].concat());
    put(&mut cd, VOLUME * SECTOR, volume);
    Ok(cd)
}

fn put(into: &mut [u8], at: usize, bytes: &[u8]) {
    into[at..at + bytes.len()].copy_from_slice(bytes);
}

/// Numbers are written with the low byte first, and then with the high byte first.
fn both(number: u32) -> [u8; 8] {
    let mut both = [0; 8];
    both[..4].copy_from_slice(&number.to_le_bytes());
    both[4..].copy_from_slice(&number.to_be_bytes());
    both
}

fn both_short(number: u16) -> [u8; 4] {
    let ([a, b], [c, d]) = (number.to_le_bytes(), number.to_be_bytes());
    [a, b, c, d]
}

/// What every descriptor begins with.
fn descriptor(sector: &mut [u8], kind: u8) {
    sector[0] = kind;
    put(sector, 1, b"CD001\x01");
}

/// ECMA-119, 8.4.
fn primary(sector: &mut [u8], sectors: u32, root: &[u8]) {
    descriptor(sector, 1);
    // Names, of which there are none but the volume's, are filled up with blanks.
    sector[8..72].fill(b' ');
    put(sector, 40, b"GODWIT");
    put(sector, 80, &both(sectors));
    put(sector, 120, &both_short(1));
    put(sector, 124, &both_short(1));
    put(sector, 128, &both_short(SECTOR as u16));
    put(sector, 132, &both(PATH_ENTRY));
    put(sector, 140, &(PATHS[0] as u32).to_le_bytes());
    put(sector, 148, &(PATHS[1] as u32).to_be_bytes());
    put(sector, 156, root);
    sector[190..813].fill(b' ');
    for date in 0..4 {
        // Not given, so that the same is made of the same.
        sector[813 + 17 * date..][..16].fill(b'0');
    }
    sector[881] = 1;
}

/// An entry of a directory (9.1).
fn entry(name: &[u8], sector: u32, size: u32, flags: u8) -> Vec<u8> {
    let length = (33 + name.len()).next_multiple_of(2);
    let mut entry = vec![0; length];
    entry[0] = length as u8;
    put(&mut entry, 2, &both(sector));
    put(&mut entry, 10, &both(size));
    // No date: that is zeros.
    entry[25] = flags;
    put(&mut entry, 28, &both_short(1));
    entry[32] = name.len() as u8;
    put(&mut entry, 33, name);
    entry
}

/// El Torito 1.0: an entry that says that this is a catalogue, and the only one that boots.
fn catalogue(sector: &mut [u8], blocks: u16) {
    sector[..2].copy_from_slice(&[1, UEFI]);
    put(sector, 30, &[0x55, 0xaa]);
    // Its words have to add up to nothing.
    let words = sector[..32].chunks(2).map(|word| u16::from_le_bytes([word[0], word[1]]));
    let sum = words.fold(0u16, u16::wrapping_add);
    put(sector, 28, &sum.wrapping_neg().to_le_bytes());
    sector[32] = BOOTABLE;
    put(sector, 38, &blocks.to_le_bytes());
    put(sector, 40, &(VOLUME as u32).to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_catalogue_adds_up_and_leads_to_the_volume() {
        let volume: Vec<u8> = (0..9 * BLOCK).map(|n| (n / 7) as u8).collect();
        let cd = with(&volume).unwrap();
        let record = &cd[BOOT_RECORD * SECTOR..];
        let at = u32::from_le_bytes(record[71..75].try_into().unwrap()) as usize * SECTOR;
        let words = cd[at..at + 32].chunks(2).map(|word| u16::from_le_bytes([word[0], word[1]]));
        assert_eq!(words.fold(0u16, u16::wrapping_add), 0);
        let entry = &cd[at + 32..at + 64];
        assert_eq!((entry[0], u16::from_le_bytes([entry[6], entry[7]])), (BOOTABLE, 9));
        let place = u32::from_le_bytes(entry[8..12].try_into().unwrap()) as usize * SECTOR;
        assert_eq!(cd[place..][..volume.len()], volume);
        assert!(cd.len().is_multiple_of(SECTOR) && with(&volume).unwrap() == cd);
        assert!(with(&vec![0; 65536 * BLOCK]).is_err());
    }
}

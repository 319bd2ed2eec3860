//! Makes bootable disks, and CDs, of the unikernel's image.
//!
//! A disk is a GUID partition table with one EFI system partition: the loader under the name
//! every UEFI firmware looks for, the kernel and its command line beside it.
#![forbid(unsafe_code)]

mod iso;
mod oci;

use std::collections::BTreeMap;
use std::io::{Cursor, Seek, SeekFrom, Write};

use anyhow::{Context, Result};
use fatfs::{FatType, FileSystem, FormatVolumeOptions, FsOptions};
use gpt::disk::LogicalBlockSize;
use gpt::mbr::ProtectiveMBR;
use gpt::partition_types::EFI;
use sha2::{Digest, Sha256};

pub use oci::container_disk;

const SECTOR: u64 = 512;
/// Where partitions start by custom, so that they are aligned on any disk.
const ALIGNMENT: u64 = 1 << 20;
/// The table's second copy at the end of the disk.
const TAIL: u64 = 34 * SECTOR;
/// Room for the file system's own structures: of each cluster, four bytes in each of two tables.
const SLACK: u64 = 2 << 20;
const CLUSTER: u32 = 512;
/// The same of FAT16, which begins at 4085 clusters: two bytes in each of two tables.
const SMALL_SLACK: u64 = (2 << 20) + (1 << 19);
const CD_SECTOR: u64 = 2048;
/// The specification wants FAT32 on a hard disk (UEFI 2.10, section 13.3), which begins at 65525
/// clusters.
const LEAST: u64 = 36 << 20;

/// A disk image, bootable by UEFI.
///
/// `loader` is the UEFI application, `kernel` a PVH ELF file, `command_line` what it is given.
///
/// # Errors
/// The contents do not fit a disk.
pub fn disk(loader: &[u8], kernel: &[u8], command_line: &str) -> Result<Vec<u8>> {
    let contents = (loader.len() + kernel.len() + command_line.len()) as u64 + SLACK;
    let volume = (contents + contents / 32).next_multiple_of(ALIGNMENT).max(LEAST);
    let mut disk = vec![0; (ALIGNMENT + volume + TAIL) as usize];
    let place = ALIGNMENT as usize..(ALIGNMENT + volume) as usize;
    fill(&mut disk[place.clone()], FatType::Fat32, &files(loader, kernel, command_line))?;
    // Identifiers come from the contents: building the same disk again gives the same bytes, and
    // two disks that differ have different ones.
    let contents = Sha256::digest(&disk[place]);
    let names = [0, 16].map(|at| uuid(&contents[at..at + 16]));
    partition(&mut disk, volume, &names)?;
    Ok(disk)
}

/// A CD, bootable by UEFI. The arguments are those of [`disk`].
///
/// # Errors
/// The contents do not fit: they have some 31 MiB.
pub fn iso(loader: &[u8], kernel: &[u8], command_line: &str) -> Result<Vec<u8>> {
    let contents = (loader.len() + kernel.len() + command_line.len()) as u64;
    // On what can be taken out of a drive, firmware takes FAT16 too, which may be small.
    let volume = (contents + contents / 32 + SMALL_SLACK).next_multiple_of(CD_SECTOR);
    let mut volume = vec![0; usize::try_from(volume)?];
    fill(&mut volume, FatType::Fat16, &files(loader, kernel, command_line))?;
    iso::with(&volume)
}

/// What is on either.
fn files<'a>(loader: &'a [u8], kernel: &'a [u8], line: &'a str) -> [(&'static str, &'a [u8]); 3] {
    [
        ("EFI/BOOT/BOOTX64.EFI", loader),
        ("godwit/kernel.elf", kernel),
        ("godwit/cmdline", line.as_bytes()),
    ]
}

/// A UUID of no kind but its maker's (RFC 9562, version 8).
fn uuid(bytes: &[u8]) -> String {
    let mut digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    digits.replace_range(12..13, "8");
    digits.replace_range(16..17, "a");
    [0..8, 8..12, 12..16, 16..20, 20..32].map(|part| &digits[part]).join("-")
}

/// Writes the partition table, with one partition of `volume` bytes. The names are those of the
/// disk and of the partition.
fn partition(disk: &mut [u8], volume: u64, [of_disk, of_partition]: &[String; 2]) -> Result<()> {
    let sectors = u32::try_from(disk.len() as u64 / SECTOR - 1).context("the disk is too large")?;
    let mut device = Box::new(Cursor::new(&mut *disk));
    ProtectiveMBR::with_lb_size(sectors).overwrite_lba0(&mut device)?;
    let mut table = gpt::GptConfig::new()
        .writable(true)
        .logical_block_size(LogicalBlockSize::Lb512)
        .create_from_device(device, Some(of_disk.parse()?))?;
    table.update_partitions(BTreeMap::new())?;
    table.add_partition("godwit", volume, EFI, 0, Some(ALIGNMENT / SECTOR))?;
    let mut partitions = table.partitions().clone();
    for partition in partitions.values_mut() {
        partition.part_guid = of_partition.parse()?;
    }
    table.update_partitions(partitions)?;
    table.write()?;
    Ok(())
}

/// Formats a volume and writes files, given by path, to it.
fn fill(volume: &mut [u8], kind: FatType, files: &[(&str, &[u8])]) -> Result<()> {
    let mut device = Cursor::new(&mut *volume);
    let options = FormatVolumeOptions::new()
        .fat_type(kind)
        .bytes_per_cluster(CLUSTER)
        .volume_label(*b"GODWIT     ");
    fatfs::format_volume(&mut device, options)?;
    device.seek(SeekFrom::Start(0))?;
    let file_system = FileSystem::new(device, FsOptions::new())?;
    let root = file_system.root_dir();
    for (path, contents) in files {
        for (at, _) in path.match_indices('/') {
            root.create_dir(&path[..at])?;
        }
        root.create_file(path)?.write_all(contents)?;
    }
    drop(root);
    file_system.unmount()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    /// Reads a file from a disk by way of its partition table.
    fn read(disk: &mut Vec<u8>, path: &str) -> Result<Vec<u8>> {
        let table = gpt::GptConfig::new().open_from_device(Box::new(Cursor::new(&mut *disk)))?;
        let partition = table.partitions().get(&1).context("no partition")?;
        assert_eq!(partition.part_type_guid, EFI);
        let range = partition.first_lba * SECTOR..(partition.last_lba + 1) * SECTOR;
        drop(table);
        let volume = Cursor::new(&mut disk[range.start as usize..range.end as usize]);
        let file_system = FileSystem::new(volume, FsOptions::new())?;
        assert_eq!(file_system.fat_type(), FatType::Fat32);
        let mut contents = Vec::new();
        file_system.root_dir().open_file(path)?.read_to_end(&mut contents)?;
        Ok(contents)
    }

    #[test]
    fn a_cd_holds_what_was_put_on_it() {
        for len in [1 << 10, 20 << 20] {
            let kernel: Vec<u8> = (0..len).map(|i: u32| (i * 7) as u8).collect();
            let cd = iso(b"loader", &kernel, "ip=dhcp").unwrap();
            // The volume is last, behind what is the CD's own.
            let volume = Cursor::new(cd[23 * CD_SECTOR as usize..].to_vec());
            let file_system = FileSystem::new(volume, FsOptions::new()).unwrap();
            assert_eq!(file_system.fat_type(), FatType::Fat16);
            let mut contents = Vec::new();
            let mut file = file_system.root_dir().open_file("godwit/kernel.elf").unwrap();
            file.read_to_end(&mut contents).unwrap();
            assert!(contents == kernel);
        }
        assert!(iso(b"", &vec![0; 40 << 20], "").is_err());
    }

    #[test]
    fn the_same_is_made_of_the_same_and_nothing_else() {
        let one = disk(b"loader", b"kernel", "ip=dhcp").unwrap();
        assert!(disk(b"loader", b"kernel", "ip=dhcp").unwrap() == one, "another disk");
        let other = disk(b"loader", b"kernel", "ip=off").unwrap();
        // Two in one machine are told apart by the names in their tables.
        let table = SECTOR as usize..3 * SECTOR as usize;
        assert!(one[table.clone()] != other[table]);
        assert!(iso(b"", b"kernel", "").unwrap() == iso(b"", b"kernel", "").unwrap());
    }

    #[test]
    fn a_uuid_says_of_which_kind_it_is() {
        let name = uuid(&[0xff; 16]);
        assert_eq!(name, "ffffffff-ffff-8fff-afff-ffffffffffff");
    }

    #[test]
    fn a_disk_holds_what_was_put_on_it() {
        // The second one makes the volume larger than the least there is.
        for len in [1 << 20, 50 << 20] {
            let kernel: Vec<u8> = (0..len).map(|i: u32| (i * 7) as u8).collect();
            let mut disk = disk(b"loader", &kernel, "ip=dhcp log=debug").unwrap();
            assert_eq!(read(&mut disk, "EFI/BOOT/BOOTX64.EFI").unwrap(), b"loader");
            assert!(read(&mut disk, "godwit/kernel.elf").unwrap() == kernel);
            assert_eq!(read(&mut disk, "godwit/cmdline").unwrap(), b"ip=dhcp log=debug");
            assert!(read(&mut disk, "godwit/other").is_err());
        }
    }
}

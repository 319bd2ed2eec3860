//! The vfio-user server: turns QEMU's requests into reads and writes of the device.

use std::{fs::File, io, path::Path, sync::Arc};

use anyhow::{Context, Result};
use vfio_bindings::bindings::vfio::{
    VFIO_IRQ_INFO_AUTOMASKED, VFIO_IRQ_INFO_EVENTFD, VFIO_IRQ_INFO_MASKABLE,
    VFIO_IRQ_SET_ACTION_TRIGGER, VFIO_IRQ_SET_ACTION_UNMASK, VFIO_IRQ_SET_DATA_EVENTFD,
    VFIO_PCI_BAR0_REGION_INDEX, VFIO_PCI_CONFIG_REGION_INDEX, VFIO_PCI_INTX_IRQ_INDEX,
    VFIO_PCI_MSI_IRQ_INDEX, VFIO_PCI_MSIX_IRQ_INDEX, VFIO_PCI_NUM_IRQS, VFIO_PCI_NUM_REGIONS,
    VFIO_REGION_INFO_FLAG_READ, VFIO_REGION_INFO_FLAG_WRITE, vfio_region_info,
};
use vfio_user::{DmaMapFlags, DmaUnmapFlags, IrqInfo, Server, ServerBackend, ServerRegion};

use crate::{
    config::{self, Config},
    device::Device,
    function,
    interrupts::VECTORS,
    registers::BAR0_SIZE,
    shared::Shared,
};

/// A listening socket, for one client after the other.
pub(crate) fn listen(path: &Path, is_function: bool) -> Result<Server> {
    Server::new(path, true, irqs(is_function), regions(is_function)).with_context(|| {
        format!("cannot listen on {} (does the file exist already?)", path.display())
    })
}

/// Serves clients until the model stops. Each finds the device as after power-up.
pub(crate) fn serve(server: &Server, shared: &Arc<Shared>, is_function: bool) {
    while !shared.is_stopping() {
        let mut backend = Backend {
            shared: shared.clone(),
            config: Config::new(is_function),
            is_function,
            table: vec![0; config::MSIX_SIZE as usize],
        };
        if let Err(error) = server.run(&mut backend) {
            log::error!("vfio-user: {error}");
        }
        shared.with(|device| {
            device.host.memory.unmap_all();
            device.host.bus_master = false;
            device.reset();
            device.host.interrupts.lines = Default::default();
        });
    }
}

fn regions(is_function: bool) -> Vec<ServerRegion> {
    let region = |index| {
        let size = match index {
            VFIO_PCI_BAR0_REGION_INDEX => bar0_size(is_function),
            config::MSIX_BAR => config::MSIX_SIZE,
            VFIO_PCI_CONFIG_REGION_INDEX => config::SIZE as u64,
            _ => 0,
        };
        let access = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE;
        let region_info = vfio_region_info {
            argsz: size_of::<vfio_region_info>() as u32,
            index,
            size,
            flags: if size > 0 { access } else { 0 },
            ..Default::default()
        };
        ServerRegion { region_info, sparse_areas: Vec::new(), mmap_fd: None }
    };
    (0..VFIO_PCI_NUM_REGIONS).map(region).collect()
}

fn irqs(is_function: bool) -> Vec<IrqInfo> {
    let irq = |index| {
        let (count, flags) = match index {
            VFIO_PCI_MSIX_IRQ_INDEX if is_function => (function::VECTORS as u32, 0),
            _ if is_function => (0, 0),
            VFIO_PCI_INTX_IRQ_INDEX => (1, VFIO_IRQ_INFO_MASKABLE | VFIO_IRQ_INFO_AUTOMASKED),
            VFIO_PCI_MSI_IRQ_INDEX => (1, 0),
            VFIO_PCI_MSIX_IRQ_INDEX => (VECTORS as u32, 0),
            _ => (0, 0),
        };
        let flags = if count > 0 { flags | VFIO_IRQ_INFO_EVENTFD } else { 0 };
        IrqInfo { index, count, flags }
    };
    (0..VFIO_PCI_NUM_IRQS).map(irq).collect()
}

/// What one client is served with.
struct Backend {
    shared: Arc<Shared>,
    config: Config,
    is_function: bool,
    /// The MSI-X table and pending bits. The client keeps its own: these are only memory.
    table: Vec<u8>,
}

impl Backend {
    fn table(&mut self, offset: u64, length: usize) -> Option<&mut [u8]> {
        let at = usize::try_from(offset).ok()?;
        self.table.get_mut(at..at.checked_add(length)?)
    }
}

impl ServerBackend for Backend {
    fn region_read(&mut self, region: u32, offset: u64, data: &mut [u8]) -> io::Result<()> {
        match region {
            VFIO_PCI_BAR0_REGION_INDEX => {
                check(offset, data.len())?;
                self.shared.with(|device| {
                    for_each_register(offset, data.len(), |register, within, part| {
                        let value = device.read(register).to_le_bytes();
                        data[part].copy_from_slice(&value[within]);
                    });
                });
            }
            VFIO_PCI_CONFIG_REGION_INDEX => self.config.read(offset, data),
            config::MSIX_BAR => {
                let table = self.table(offset, data.len()).ok_or_else(|| outside(offset))?;
                data.copy_from_slice(table);
            }
            _ => return Err(outside(offset)),
        }
        Ok(())
    }

    fn region_write(&mut self, region: u32, offset: u64, data: &[u8]) -> io::Result<()> {
        match region {
            VFIO_PCI_BAR0_REGION_INDEX => {
                check(offset, data.len())?;
                self.shared.with(|device| {
                    for_each_register(offset, data.len(), |register, within, part| {
                        // Registers are written whole (8.1.1): what a narrower access leaves out is
                        // 0.
                        let mut value = [0; 4];
                        value[within].copy_from_slice(&data[part]);
                        device.write(register, u32::from_le_bytes(value));
                    });
                });
            }
            VFIO_PCI_CONFIG_REGION_INDEX => {
                let effect = self.config.write(offset, data);
                self.shared.with(|device| {
                    device.host.bus_master = effect.bus_master;
                    if effect.reset {
                        device.reset();
                    }
                });
            }
            config::MSIX_BAR => {
                self.table(offset, data.len())
                    .ok_or_else(|| outside(offset))?
                    .copy_from_slice(data);
            }
            _ => return Err(outside(offset)),
        }
        Ok(())
    }

    fn dma_map(
        &mut self,
        flags: DmaMapFlags,
        offset: u64,
        address: u64,
        size: u64,
        fd: Option<File>,
    ) -> io::Result<()> {
        // ROMs and the like: nothing a NIC should touch.
        if !flags.contains(DmaMapFlags::READ_WRITE) {
            return Ok(());
        }
        let Some(file) = fd else {
            log::error!(
                "{size:#x} bytes of guest memory at {address:#x} have no file: start QEMU with \
                 -object memory-backend-memfd,id=ram,size=…,share=on -machine memory-backend=ram"
            );
            return Ok(());
        };
        self.shared
            .with(|device| device.host.memory.map(address, size, file, offset))
            .inspect_err(|error| log::error!("cannot map guest memory: {error}"))
    }

    fn dma_unmap(&mut self, flags: DmaUnmapFlags, address: u64, size: u64) -> io::Result<()> {
        self.shared.with(|device| match flags.contains(DmaUnmapFlags::UNMAP_ALL) {
            true => device.host.memory.unmap_all(),
            false => device.host.memory.unmap(address, size),
        });
        Ok(())
    }

    fn reset(&mut self) -> io::Result<()> {
        self.config = Config::new(self.is_function);
        self.shared.with(|device| {
            device.host.bus_master = false;
            device.reset();
        });
        Ok(())
    }

    fn set_irqs(
        &mut self,
        index: u32,
        flags: u32,
        start: u32,
        count: u32,
        fds: Vec<File>,
    ) -> io::Result<()> {
        self.shared.with(|device| set_irqs(device, index, flags, start, count, fds))
    }
}

/// VFIO_DEVICE_SET_IRQS (Linux `include/uapi/linux/vfio.h`).
fn set_irqs(
    device: &mut Device,
    index: u32,
    flags: u32,
    start: u32,
    count: u32,
    fds: Vec<File>,
) -> io::Result<()> {
    if flags & VFIO_IRQ_SET_ACTION_UNMASK != 0 {
        device.host.interrupts.retell();
    }
    if flags & VFIO_IRQ_SET_ACTION_TRIGGER == 0 {
        return Ok(());
    }
    let lines = &mut device.host.interrupts.lines;
    // No count: all of them are off.
    let clear = count == 0;
    let assign = flags & VFIO_IRQ_SET_DATA_EVENTFD != 0;
    if !clear && !assign {
        return Ok(());
    }
    let mut files = fds.into_iter();
    match index {
        VFIO_PCI_INTX_IRQ_INDEX => lines.intx = files.next(),
        VFIO_PCI_MSI_IRQ_INDEX => lines.msi = files.next(),
        VFIO_PCI_MSIX_IRQ_INDEX if clear => lines.msix.clear(),
        VFIO_PCI_MSIX_IRQ_INDEX => {
            let end = start.checked_add(count).filter(|&end| end as usize <= VECTORS);
            let end = end.ok_or_else(|| outside(u64::from(start)))? as usize;
            if lines.msix.len() < end {
                lines.msix.resize_with(end, || None);
            }
            for line in &mut lines.msix[start as usize..end] {
                *line = files.next();
            }
        }
        _ => return Err(outside(u64::from(index))),
    }
    Ok(())
}

/// Cuts an access into registers: the register, which of its bytes, which of the data's.
fn for_each_register(
    offset: u64,
    length: usize,
    mut access: impl FnMut(u32, std::ops::Range<usize>, std::ops::Range<usize>),
) {
    let mut done = 0;
    while done < length {
        let at = offset as usize + done;
        let within = at % 4..(at % 4 + length - done).min(4);
        let part = done..done + within.len();
        done = part.end;
        access((at & !3) as u32, within, part);
    }
}

/// Bytes of BAR 0.
fn bar0_size(is_function: bool) -> u64 {
    u64::from(if is_function { function::BAR0_SIZE } else { BAR0_SIZE })
}

fn check(offset: u64, length: usize) -> io::Result<()> {
    match offset.checked_add(length as u64) {
        Some(end) if end <= u64::from(BAR0_SIZE) => Ok(()),
        _ => Err(outside(offset)),
    }
}

fn outside(offset: u64) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("{offset:#x} is outside"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accesses_are_cut_into_registers() {
        let cut = |offset, length| {
            let mut parts = Vec::new();
            for_each_register(offset, length, |register, within, part| {
                parts.push((register, within, part));
            });
            parts
        };
        assert_eq!(cut(8, 4), [(8, 0..4, 0..4)]);
        assert_eq!(cut(8, 8), [(8, 0..4, 0..4), (12, 0..4, 4..8)]);
        assert_eq!(cut(10, 1), [(8, 2..3, 0..1)]);
        assert_eq!(cut(6, 4), [(4, 2..4, 0..2), (8, 0..2, 2..4)]);
        assert!(check(u64::from(BAR0_SIZE) - 4, 8).is_err());
        assert!(check(u64::MAX, 4).is_err());
    }
}

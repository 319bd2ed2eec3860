use core::fmt;
use unikernel::pci::PciAddress;
use unikernel::{dma, pci};

/// Why a NIC could not be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// No driver knows the device.
    Unknown {
        /// Where it is.
        address: PciAddress,
        /// Vendor id.
        vendor: u16,
        /// Device id.
        id: u16,
    },
    /// The family cannot do what a setting asks for.
    Unsupported {
        /// Where the device is.
        address: PciAddress,
        /// Its family.
        family: &'static str,
        /// The setting, as on the command line.
        setting: &'static str,
    },
    /// The function cannot be used.
    Pci(pci::Error),
    /// The pool has no room for the rings and their buffers.
    Dma(PciAddress, dma::Error),
    /// The device stayed in reset.
    Reset(PciAddress),
    /// The device has no station address that a NIC can have.
    NoAddress(PciAddress, [u8; 6]),
    /// A virtio device without the modern interface, or with one that makes no sense.
    NotModern(PciAddress),
    /// A virtio device that does not accept what it offered.
    Negotiation(PciAddress),
}

impl From<pci::Error> for Error {
    fn from(error: pci::Error) -> Self {
        Error::Pci(error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Unknown { address, vendor, id } => write!(
                f,
                "{address}: no driver for {vendor:04x}:{id:04x}; there are drivers for Intel's \
                 82540EM and 82545EM (e1000), 82574L (e1000e), 82576 and I350 (igb), 82599 and \
                 X540 (ixgbe), and for virtio-net"
            ),
            Error::Unsupported { address, family, setting } => {
                write!(f, "{address}: {setting} is not for a {family} NIC: leave it out")
            }
            Error::Pci(error) => error.fmt(f),
            Error::Dma(address, error) => write!(f, "{address}: {error}"),
            Error::Reset(address) => write!(f, "{address}: the device does not come out of reset"),
            Error::NoAddress(address, mac) => {
                write!(f, "{address}: {mac:02x?} is no station address: give the NIC one (mac=)")
            }
            Error::NotModern(address) => write!(
                f,
                "{address}: no usable virtio 1.0 interface: give the device disable-modern=off"
            ),
            Error::Negotiation(address) => {
                write!(f, "{address}: the virtio device refuses what it offered")
            }
        }
    }
}

impl core::error::Error for Error {}

use core::fmt;
use unikernel::nic::{Mtu, VlanId};
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
    /// The driver of a virtual function's physical one does not answer.
    Silent(PciAddress),
    /// It refuses something.
    Refused(PciAddress, Refusal),
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
                 X540 (ixgbe), for virtual functions of the last four (igbvf, ixgbevf), and for \
                 virtio-net"
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
            Error::Silent(address) => write!(
                f,
                "{address}: the driver of its physical function does not answer: on the host, that \
                 one's interface must be up (ip link set DEVICE up)"
            ),
            Error::Refused(address, what) => write!(f, "{address}: {what}"),
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

/// What the driver of a physical function refuses one of its virtual functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A station address other than what the host gave it: the one that the interface has.
    Address([u8; 6]),
    /// To be in a VLAN.
    Vlan(VlanId),
    /// Frames as long as this takes.
    Mtu(Mtu),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the host refuses ")?;
        match self {
            Self::Address([a, b, c, d, e, g]) => {
                let mac = format_args!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}");
                write!(
                    f,
                    "the interface's station address {mac}: give it to the virtual function there \
                     (ip link set DEVICE vf N mac {mac}), or let this machine choose (… trust on)"
                )
            }
            Self::Vlan(vlan) => write!(f, "VLAN {}: it may have one of its own", vlan.get()),
            Self::Mtu(mtu) => {
                write!(f, "an MTU of {}: the physical function's has to be as long", mtu.get())
            }
        }
    }
}

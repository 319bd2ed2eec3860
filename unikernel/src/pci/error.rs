use super::PciAddress;
use core::fmt;

/// Why a function cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The kernel cannot map this range: its start and length in bytes.
    NotMappable(u64, u64),
    /// A BAR found no place in the windows of the bridge above it.
    NoRoom {
        /// The function.
        function: PciAddress,
        /// Its BAR.
        bar: u8,
        /// The BAR's size in bytes.
        size: u64,
    },
    /// The function has no such memory BAR, or nobody assigned it.
    NoBar(PciAddress, u8),
    /// The function offers no interrupt, or there is none left to give it.
    NoInterrupt(PciAddress),
    /// The function does not answer.
    Gone(PciAddress),
    /// The slot below this port did not come up within its time.
    PowerFailed(PciAddress),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NotMappable(start, len) => {
                write!(f, "PCI memory {start:#x}+{len:#x} cannot be mapped")
            }
            Error::NoRoom { function, bar, size } => write!(
                f,
                "{function}: BAR {bar} of {size:#x} bytes does not fit into the windows of the \
                 bridge above it: reserve more there (pcie-root-port: mem-reserve=, \
                 pref64-reserve=)"
            ),
            Error::NoBar(function, bar) => {
                write!(f, "{function}: BAR {bar} is missing or unassigned")
            }
            Error::NoInterrupt(function) => {
                write!(f, "{function}: neither MSI-X nor MSI nor INTx can be used")
            }
            Error::Gone(function) => write!(f, "{function}: does not answer"),
            Error::PowerFailed(port) => {
                write!(f, "{port}: the card in its slot did not come up after power-on")
            }
        }
    }
}

impl core::error::Error for Error {}

//! The fixed ACPI description table (ACPI 6.5, 5.2.9): which of ACPI's fixed hardware there is, and
//! where.

use super::field::{Error, u16_at, u32_at, u64_at};

// Offsets from the table's start (table 5.9).
const SCI_INT: usize = 46;
const SMI_CMD: usize = 48;
const ACPI_ENABLE: usize = 52;
const PM1A_EVENTS: usize = 56;
const PM1B_EVENTS: usize = 60;
const PM1A_CONTROL: usize = 64;
const PM_TIMER: usize = 76;
const PM1_EVENTS_LEN: usize = 88;
const PM_TIMER_LEN: usize = 91;
const CENTURY: usize = 108;
const BOOT_ARCHITECTURE: usize = 109;
const FLAGS: usize = 112;
const X_PM1A_EVENTS: usize = 148;
const X_PM1B_EVENTS: usize = 160;
const X_PM1A_CONTROL: usize = 172;
const X_PM_TIMER: usize = 208;

/// The power button, if there is one, is not among the fixed hardware.
const FLAG_NO_FIXED_BUTTON: u32 = 1 << 4;
/// There is no fixed hardware.
const FLAG_REDUCED: u32 = 1 << 20;
const ARCHITECTURE_NO_RTC: u16 = 1 << 5;
/// The address space of ports (5.2.3.2, table 5.1).
const SPACE_PORTS: u8 = 1;

/// The fixed hardware. What a table does not have is `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fadt {
    /// The timer to calibrate others by.
    pub pm_timer: Option<PmTimer>,
    /// I/O port of the PM1a control register.
    pub pm1a_control: Option<u16>,
    /// The fixed power button.
    pub power_button: Option<PowerButton>,
    /// The clock that goes on while the machine does not run.
    pub rtc: Option<Rtc>,
}

/// The ACPI power management timer: 24 bits at 3.579545 MHz.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PmTimer {
    /// Its I/O port.
    pub port: u16,
}

#[cfg(target_os = "none")]
impl PmTimer {
    /// The count; only the low 24 bits count on every machine.
    pub(crate) fn read(self) -> u32 {
        // SAFETY: the FADT names this port as the timer's, and reading it has no side effect.
        unsafe { x86_64::instructions::port::Port::<u32>::new(self.port).read() }
    }
}

/// The fixed power button's registers (4.8.3.1): its bits lie in the PM1 event blocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PowerButton {
    /// The interrupt line of all ACPI events, the SCI.
    pub line: u16,
    /// I/O ports of the status registers, of one block or two.
    pub status: heapless::Vec<u16, 2>,
    /// How far behind a status register its enable register is.
    pub enable: u16,
    /// I/O port of the PM1a control register.
    pub control: u16,
    /// Where to write what to have events come as interrupts; `None` if they always do.
    pub acpi_mode: Option<(u16, u8)>,
}

/// The PC's real-time clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rtc {
    /// Which of its registers has the century.
    pub century: Option<u8>,
}

impl Fadt {
    /// What `table` says. Fields beyond its end are those of a later revision, and count as 0.
    pub(super) fn parse(table: &[u8]) -> Result<Self, Error> {
        let byte = |offset: usize| table.get(offset).copied().ok_or(Error::Length);
        let timer_len = byte(PM_TIMER_LEN)?;
        let flags = u32_at(table, FLAGS).ok_or(Error::Length)?;
        if flags & FLAG_REDUCED != 0 {
            return Ok(Self::default());
        }
        let control = port(table, PM1A_CONTROL, X_PM1A_CONTROL);
        let timer = port(table, PM_TIMER, X_PM_TIMER).filter(|_| timer_len == 4);
        let button = control.filter(|_| flags & FLAG_NO_FIXED_BUTTON == 0);
        let architecture = u16_at(table, BOOT_ARCHITECTURE).unwrap_or(0);
        let century = Some(byte(CENTURY)?).filter(|&register| register != 0);
        Ok(Self {
            pm_timer: timer.map(|port| PmTimer { port }),
            pm1a_control: control,
            power_button: button.and_then(|control| power_button(table, control)),
            rtc: (architecture & ARCHITECTURE_NO_RTC == 0).then_some(Rtc { century }),
        })
    }
}

fn power_button(table: &[u8], control: u16) -> Option<PowerButton> {
    let blocks = [(PM1A_EVENTS, X_PM1A_EVENTS), (PM1B_EVENTS, X_PM1B_EVENTS)];
    let status = blocks.iter().filter_map(|&(offset, extended)| port(table, offset, extended));
    let status: heapless::Vec<_, 2> = status.collect();
    let len = u16::from(*table.get(PM1_EVENTS_LEN)?);
    let command = u32_at(table, SMI_CMD).and_then(|port| u16::try_from(port).ok());
    let enable = *table.get(ACPI_ENABLE)?;
    let acpi_mode = command.filter(|&port| port != 0 && enable != 0).map(|port| (port, enable));
    // Status and enable register: two bytes each at least (4.8.3.1).
    (!status.is_empty() && len >= 4).then_some(PowerButton {
        line: u16_at(table, SCI_INT)?,
        status,
        enable: len / 2,
        control,
        acpi_mode,
    })
}

/// The port of a register block: of two fields the newer one, where it names one (table 5.9).
fn port(table: &[u8], offset: usize, extended: usize) -> Option<u16> {
    let is_in_ports = table.get(extended) == Some(&SPACE_PORTS);
    let newer = u64_at(table, extended + 4).filter(|&port| is_in_ports && port != 0);
    let port = newer.or_else(|| u32_at(table, offset).map(u64::from))?;
    u16::try_from(port).ok().filter(|&port| port != 0)
}

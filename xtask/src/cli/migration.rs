//! What migrates a guest, and shows what came out.

use std::path::PathBuf;

use clap::Args;
use lab::{
    choices::{
        Bridge, CancelAt, Chipset, ClockKind, GuestKind, LabKind, Marking, QemuKind, Strategy,
        TrafficKind,
    },
    guest::{MigrationNic, options::parse_bdf},
    parts::NicModel,
    runner::Destination,
};

use super::common::{App, Host, at_least_one, lab_nic, nics};

/// Where the report goes that nobody named a place for.
const REPORT: &str = "report";

#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Model of the two passthrough NICs
    #[arg(long, value_parser = lab_nic(), default_value = "e1000e")]
    pub(crate) nic: NicModel,
    /// Seconds of traffic before the migration, and after it
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub(crate) seconds: u32,
    /// Whose time the figures are in [default: real; if others used this machine so much that they
    /// do not hold, once more in the lab's own: virtual]
    #[arg(long, value_enum)]
    pub(crate) clock: Option<ClockKind>,
    /// Also write the result here
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Write result, plot, page and logs into this directory
    #[arg(long, value_name = "DIR", default_value = REPORT)]
    pub(crate) report: PathBuf,
    #[command(flatten)]
    pub(crate) host: Host,
}

#[derive(Debug, Args)]
pub(crate) struct Migrate {
    /// Where the two machines run
    #[arg(long, value_enum, default_value_t = LabKind::Nested)]
    pub(crate) lab: LabKind,
    /// What runs them: the patched QEMU, or the distribution's, or the newer one of its backports,
    /// with which a guest marks always and its NIC is taken and given by commands (docs/stock.md)
    #[arg(long, value_enum, default_value_t = QemuKind::Patched)]
    pub(crate) qemu: QemuKind,
    /// Whose time the figures are in; the lab's own goes with --traffic udp
    #[arg(long, value_enum, default_value_t = ClockKind::Real)]
    pub(crate) clock: ClockKind,
    /// Model of the NICs: e1000e, igb, igbvf; with --lab local e1000e, ixgbe, ixgbevf; with --lab
    /// host vfio:SOURCE,DESTINATION, the PCI addresses of two NICs of this machine
    #[arg(long, value_name = "NIC", default_value = "e1000e")]
    pub(crate) nic: MigrationNic,
    /// --lab host: the interface of this machine that traffic goes by, with a wire to both NICs
    #[arg(long, value_name = "INTERFACE")]
    pub(crate) source: Option<String>,
    /// Run the second machine on another one, which ssh reaches without a question; its NIC, the
    /// second of --nic, is that one's. With --lab host or local
    #[arg(long, value_name = "ssh:USER@HOST[:PORT]")]
    pub(crate) destination: Option<Destination>,
    /// --lab host: take this NIC although it carries this machine's own traffic, which may end the
    /// connection that you are using. Its driver has it back in the end; addresses, routes and
    /// being up are not restored. Or: send by this interface, which --source names, although it
    /// does
    #[arg(long, value_name = "BDF|INTERFACE", value_parser = nic_or_interface)]
    pub(crate) take: Vec<String>,
    /// Its model on the destination, where that is another one with another address
    #[arg(long, value_name = "MODEL", value_parser = lab_nic())]
    pub(crate) destination_nic: Option<NicModel>,
    /// NICs of each machine, each an interface of the guest under a root port of its own: 1 or 2
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = nics())]
    pub(crate) nics: u8,
    /// When the NIC leaves the guest
    #[arg(long, value_enum, default_value_t = Strategy::Warm)]
    pub(crate) strategy: Strategy,
    /// Pair the NIC with a virtio-net standby, which serves the guest while the NIC is away; the
    /// failover strategy always does
    #[arg(long)]
    pub(crate) standby: bool,
    /// The machine type
    #[arg(long, value_enum, default_value_t = Chipset::Q35)]
    pub(crate) machine: Chipset,
    /// The bridge that the NIC is below
    #[arg(long, value_enum, default_value_t = Bridge::PcieRootPort)]
    pub(crate) bridge: Bridge,
    /// Then migrate with the other strategies too, at the same rate, and draw all of them over one
    /// another; with --guest linux, Linux' failover and cold beside Godwit's warm and failover
    #[arg(long, conflicts_with_all = ["cancel_at", "times"])]
    pub(crate) compare: bool,
    /// Migrate so often, to and fro
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = at_least_one(),
          conflicts_with = "cancel_at")]
    pub(crate) times: u32,
    /// The guest's marking policy
    #[arg(long, value_enum, default_value_t = Marking::Auto)]
    pub(crate) marking: Marking,
    /// What is driven at the guest
    #[arg(long, value_enum, default_value_t = TrafficKind::Udp)]
    pub(crate) traffic: TrafficKind,
    /// `--traffic client`: a command line that is run over and over, and has to succeed each time;
    /// {host} and {port} in it are where the guest's --port is reached
    #[arg(long, value_name = "COMMAND")]
    pub(crate) client: Option<String>,
    /// TCP port of the guest that traffic goes to [default: 5201 with tcp, 7 with echo]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) port: Option<u16>,
    /// `--traffic echo`: go on after the last migration until so many megabytes have come back
    #[arg(long, value_name = "MB", default_value_t = 0)]
    pub(crate) transfer: u64,
    /// Offered rate [default: half of what the guest takes when saturated, measured first; 100 with
    /// --compare --guest linux]
    #[arg(long, value_name = "Mbit", allow_negative_numbers = true)]
    pub(crate) rate: Option<f64>,
    /// Seconds of traffic before the migration, and after it
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub(crate) seconds: u32,
    /// Seconds of the warm-up at least [default: 20, in the lab's own time 6, with --lab local 8,
    /// with --lab host 10; of several migrations 4]
    #[arg(long, value_name = "N")]
    pub(crate) warmup: Option<u32>,
    /// Cancel the migration there, at several places one after the other, then migrate once more
    #[arg(long, value_enum, value_delimiter = ',')]
    pub(crate) cancel_at: Vec<CancelAt>,
    /// The guest; Linux goes with --strategy failover or cold, and with --compare
    #[arg(long, value_enum, default_value_t = GuestKind::Godwit)]
    pub(crate) guest: GuestKind,
    /// The guest's image, of net-app as it is, made before [default: the application, built now]
    #[arg(long, value_name = "FILE", conflicts_with = "app")]
    pub(crate) image: Option<PathBuf>,
    /// More for the guest's command line
    #[arg(long, value_name = "guest command line", default_value = "", allow_hyphen_values = true)]
    pub(crate) append: String,
    /// Record every frame on the segment here, as a pcapng file with an interface for each port,
    /// and comments that say where each stage began
    #[arg(long, value_name = "FILE", conflicts_with = "compare")]
    pub(crate) pcap: Option<PathBuf>,
    /// Write the result here
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Write result, plot, page and logs into this directory
    #[arg(long, value_name = "DIR", default_value = REPORT)]
    pub(crate) report: PathBuf,
    #[command(flatten)]
    pub(crate) app: App,
    #[command(flatten)]
    pub(crate) host: Host,
}

/// A PCI address as Linux writes it, or else the name of an interface: either is looked for later.
#[expect(clippy::unnecessary_wraps, reason = "clap wants it so")]
fn nic_or_interface(text: &str) -> Result<String, String> {
    Ok(parse_bdf(text).unwrap_or_else(|_| text.into()))
}

#[derive(Debug, Args)]
pub(crate) struct Soak {
    /// How many migrations, of which those that completed take the guest to and fro
    #[arg(long, value_name = "N", default_value_t = 12, value_parser = at_least_one())]
    pub(crate) migrations: u32,
    /// What chooses the events: the same seed, the same events [default: another one each time]
    #[arg(long, value_name = "S")]
    pub(crate) seed: Option<u64>,
    /// Where the two machines run
    #[arg(long, value_enum, default_value_t = LabKind::Nested)]
    pub(crate) lab: LabKind,
    /// Model of the NICs
    #[arg(long, value_parser = lab_nic(), default_value = "e1000e")]
    pub(crate) nic: NicModel,
    /// The guest's marking policy
    #[arg(long, value_enum, default_value_t = Marking::Auto)]
    pub(crate) marking: Marking,
    /// More for the guest's command line
    #[arg(long, value_name = "guest command line", default_value = "", allow_hyphen_values = true)]
    pub(crate) append: String,
    /// Also write the result here
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Write result and logs into this directory
    #[arg(long, value_name = "DIR", default_value = REPORT)]
    pub(crate) report: PathBuf,
    #[command(flatten)]
    pub(crate) host: Host,
}

#[derive(Debug, Args)]
pub(crate) struct Hold {
    /// The directory of the run, which goes in the end
    pub(crate) directory: PathBuf,
    /// The NIC
    #[arg(long, value_name = "BDF", value_parser = parse_bdf)]
    pub(crate) nic: Option<String>,
    /// Take it although it carries this machine's own traffic
    #[arg(long)]
    pub(crate) take: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Compare {
    /// The first run's result, as `--json` or the report has it
    #[arg(value_name = "A.json")]
    pub(crate) first: PathBuf,
    /// The second one's
    #[arg(value_name = "B.json")]
    pub(crate) second: PathBuf,
    /// Also write a page with both plots here
    #[arg(long, value_name = "FILE")]
    pub(crate) page: Option<PathBuf>,
}

//! The command line. Scripts depend on it: flags are added, never renamed.

use std::{
    path::{Path, PathBuf},
    str::FromStr,
};

use clap::{
    Args, Parser, Subcommand, ValueEnum,
    builder::{PossibleValuesParser, TypedValueParser},
};
use lab::{
    addresses::INTERFACES,
    build::application::Application,
    choices::{
        Bridge, CancelAt, Chipset, ClockKind, GuestKind, LabKind, Marking, QemuKind, Strategy,
        TrafficKind,
    },
    guest::{
        Forward, Net, Nic,
        accel::Accel,
        options::{parse_bdf, parse_mac},
    },
    parts::NicModel,
};

use crate::{ending::STATUSES, examples, names::parse_name};

/// Where the report goes that nobody named a place for.
const REPORT: &str = "report";

/// Builds, boots, live-migrates and tests the Godwit unikernel.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", max_term_width = 100)]
#[command(after_help = STATUSES)]
pub(crate) struct Cli {
    /// Show no progress: what came out, warnings and errors only
    #[arg(long, short, global = true, conflicts_with = "verbose", display_order = 900)]
    pub(crate) quiet: bool,
    /// Show the command line of each program that is started, the machines' QEMUs included
    #[arg(long, short, global = true, display_order = 901)]
    pub(crate) verbose: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    #[command(after_help = examples::DEMO)]
    /// Live-migrate the unikernel with its passthrough NIC, from nothing, and draw the throughput
    Demo(Demo),
    #[command(after_help = examples::TEST)]
    /// Everything that CI runs; ends in a line `N passed, N failed`
    Test(Test),
    /// Boot the unikernel on this machine
    #[command(after_help = examples::RUN)]
    Run(Run),
    /// Make an application of one's own, outside of this repository
    New(New),
    /// One live migration, with every choice open
    #[command(after_help = examples::MIGRATE)]
    Migrate(Migrate),
    /// Two results of `demo` or `migrate` side by side
    #[command(after_help = examples::COMPARE)]
    Compare(Compare),
    /// Build the bootable image
    #[command(after_help = examples::IMAGE)]
    Image(Image),
    /// Measure, and compare with others
    #[command(after_help = examples::BENCH)]
    Bench(Bench),
    /// Print a libvirt domain with a passthrough NIC and its standby, as a teaming pair that
    /// migrates warm
    LibvirtXml(LibvirtXml),
    /// Build, or show where, the patched QEMU is
    Qemu(Qemu),
    /// What this machine can do, and what to do about the rest
    Doctor(Doctor),
    /// Fill a directory with all that comes from elsewhere, for a machine without a network
    Fetch(Fetch),
    /// Print what a shell completes the command line with: `alias xtask='cargo xtask'`, then
    /// `source <(cargo xtask completions bash)`
    Completions(Completions),
    /// Remove what earlier runs have left in the cache, and where temporary files are
    Clean(Clean),
}

impl Command {
    /// Where the result is to be written, for scripts.
    pub(crate) fn json(&self) -> Option<&Path> {
        match self {
            Self::Demo(options) => options.json.as_deref(),
            Self::Migrate(options) => options.json.as_deref(),
            Self::Bench(options) => options.json.as_deref(),
            Self::Doctor(options) => options.json.as_deref(),
            _ => None,
        }
    }
}

/// What the lab's virtual host is made of; common to everything that starts the lab.
#[derive(Debug, Clone, Args)]
pub(crate) struct Host {
    /// Kernel of the lab's virtual host: a linux-image .deb, a directory unpacked from one, or a
    /// vmlinuz with its modules beside it [default: the distribution's newest 6.12]
    #[arg(long, value_name = "PATH")]
    pub(crate) host_kernel: Option<PathBuf>,
}

impl Host {
    /// The kernel that was given.
    pub(crate) fn kernel(&self) -> Option<&Path> {
        self.host_kernel.as_deref()
    }
}

fn at_least_one() -> impl TypedValueParser<Value = u32> {
    clap::value_parser!(u32).range(1..)
}

/// As many as the lab has addresses for.
fn nics() -> impl TypedValueParser<Value = u8> {
    clap::value_parser!(u8).range(1..=INTERFACES as i64)
}

/// The models that a lab can pass through; which lab has which is told when one is asked for.
fn lab_nic() -> impl TypedValueParser<Value = NicModel> {
    let named = |name: String| {
        NicModel::OF_LABS.into_iter().find(|model| model.name() == name).ok_or("no such model")
    };
    PossibleValuesParser::new(NicModel::OF_LABS.map(NicModel::name)).try_map(named)
}

/// The application, of this repository or not; common to everything that boots one.
#[derive(Debug, Clone, Args)]
pub(crate) struct App {
    /// Folder of the application [default: the one in the current directory, else net-app]
    #[arg(long, value_name = "PATH")]
    app: Option<PathBuf>,
}

impl App {
    /// The application that was named, or is the default here.
    pub(crate) fn find(&self) -> anyhow::Result<Application> {
        Application::find(self.app.as_deref())
    }
}

#[derive(Debug, Args)]
pub(crate) struct Qemu {
    /// Build what each patch of the series makes of QEMU instead, one after the other, and run the
    /// series' own tests from the patch on that adds them: all of them, or only those of these
    /// numbers, both included
    #[arg(long, value_name = "FROM..TO", num_args = 0..=1, default_missing_value = "..")]
    pub(crate) each: Option<Numbers>,
}

/// Numbers of patches, counted from one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Numbers {
    pub(crate) first: usize,
    /// `None` for the last there is.
    pub(crate) last: Option<usize>,
}

impl FromStr for Numbers {
    type Err = String;

    /// `N`, `FROM..TO`, and this with one or both left out.
    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| {
            let number = text.parse().ok().filter(|&number| number > 0);
            number.ok_or_else(|| format!("{text:?} is no number of a patch"))
        };
        let (first, last) = text.split_once("..").unwrap_or((text, text));
        let first = if first.is_empty() && text.contains("..") { 1 } else { number(first)? };
        let last = if last.is_empty() { None } else { Some(number(last)?) };
        Ok(Self { first, last })
    }
}

#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Model of the two passthrough NICs
    #[arg(long, value_parser = lab_nic(), default_value = "e1000e")]
    pub(crate) nic: NicModel,
    /// Seconds of traffic before the migration, and after it
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub(crate) seconds: u32,
    /// Whose time the figures are in
    #[arg(long, value_enum, default_value_t = ClockKind::Real)]
    pub(crate) clock: ClockKind,
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
pub(crate) struct Test {
    /// Leave the nested lab out
    #[arg(long, conflicts_with = "long")]
    pub(crate) quick: bool,
    /// Also the long repetitions: ten migrations to and fro, under each kind of traffic
    #[arg(long)]
    pub(crate) long: bool,
    /// Print the names of the tests, and run none
    #[arg(long)]
    pub(crate) list: bool,
    /// Only tests whose name, as printed, contains this
    #[arg(value_name = "FILTER")]
    pub(crate) filter: Option<String>,
    #[command(flatten)]
    pub(crate) host: Host,
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// The NIC: e1000, e1000e, igb, ixgbe, ixgbevf, virtio, or vfio:BDF
    #[arg(long, default_value = "e1000e")]
    pub(crate) nic: Nic,
    /// `auto` uses KVM only after having seen it run a guest
    #[arg(long, value_enum, default_value_t = Accel::Auto)]
    pub(crate) accel: Accel,
    /// Memory of the guest
    #[arg(long, value_name = "MiB", default_value_t = 128)]
    pub(crate) mem: u32,
    /// What the NIC is connected to: user, or tap:INTERFACE
    #[arg(long, default_value = "user")]
    pub(crate) net: Net,
    /// Forward a port of this machine, TCP and UDP, to the guest (--net user)
    #[arg(long, value_name = "HOST:GUEST")]
    pub(crate) forward: Vec<Forward>,
    /// The guest's command line
    #[arg(long, value_name = "guest command line", allow_hyphen_values = true)]
    pub(crate) append: Option<String>,
    /// End the machine after so many seconds, with exit status 124
    #[arg(long, value_name = "S")]
    pub(crate) timeout: Option<u64>,
    /// Take this NIC for --nic vfio:BDF although it carries this machine's own traffic, which may
    /// end the connection that you are using. Its driver has it back in the end; addresses, routes
    /// and being up are not restored
    #[arg(long, value_name = "BDF", value_parser = parse_bdf)]
    pub(crate) take: Option<String>,
    /// Have QEMU's monitor (QMP) listen at this unix socket
    #[arg(long, value_name = "SOCKET")]
    pub(crate) qmp: Option<PathBuf>,
    /// The guest's image [default: built now]
    #[arg(long, value_name = "FILE", conflicts_with = "app")]
    pub(crate) image: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) app: App,
}

#[derive(Debug, Args)]
pub(crate) struct New {
    /// What the application, and its folder, is called: in the current directory, or beside the
    /// checkout where that is in it
    #[arg(value_parser = parse_name)]
    pub(crate) name: String,
}

#[derive(Debug, Args)]
pub(crate) struct Migrate {
    /// Where the two machines run
    #[arg(long, value_enum, default_value_t = LabKind::Nested)]
    pub(crate) lab: LabKind,
    /// What runs them: the patched QEMU, or the distribution's, with which a guest marks always and
    /// its NIC is taken and given by commands (docs/stock.md)
    #[arg(long, value_enum, default_value_t = QemuKind::Patched)]
    pub(crate) qemu: QemuKind,
    /// Whose time the figures are in; the lab's own goes with --traffic udp
    #[arg(long, value_enum, default_value_t = ClockKind::Real)]
    pub(crate) clock: ClockKind,
    /// Model of the NICs
    #[arg(long, value_parser = lab_nic(), default_value = "e1000e")]
    pub(crate) nic: NicModel,
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
    /// another
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
    /// Offered rate [default: half of what the guest takes when saturated, measured first]
    #[arg(long, value_name = "Mbit", allow_negative_numbers = true)]
    pub(crate) rate: Option<f64>,
    /// Seconds of traffic before the migration, and after it
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub(crate) seconds: u32,
    /// Cancel the migration there, at several places one after the other, then migrate once more
    #[arg(long, value_enum, value_delimiter = ',')]
    pub(crate) cancel_at: Vec<CancelAt>,
    /// The guest
    #[arg(long, value_enum, default_value_t = GuestKind::Godwit)]
    pub(crate) guest: GuestKind,
    /// More for the guest's command line
    #[arg(long, value_name = "guest command line", default_value = "", allow_hyphen_values = true)]
    pub(crate) append: String,
    /// Record every frame on the segment here, as a pcapng file with an interface for each port
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

#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell
    #[arg(value_enum)]
    pub(crate) shell: clap_complete::Shell,
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

#[derive(Debug, Args)]
pub(crate) struct Image {
    /// elf: a PVH kernel for `-kernel`; disk and iso: a disk and a CD that UEFI boots
    #[arg(long, value_enum, default_value_t = ImageFormat::Elf)]
    pub(crate) format: ImageFormat,
    /// Copy the image here
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// The guest's command line, on a disk or CD: an ELF file gets its own from the loader
    #[arg(long, value_name = "LINE", default_value = "")]
    pub(crate) append: String,
    #[command(flatten)]
    pub(crate) app: App,
}

#[derive(Debug, Args)]
pub(crate) struct LibvirtXml {
    /// PCI address of the passthrough NIC
    #[arg(long, value_name = "BDF", value_parser = parse_bdf)]
    pub(crate) nic: String,
    /// The bridge that the standby is connected to; the NIC's network has to be behind it
    #[arg(long, value_name = "INTERFACE", default_value = "br0")]
    pub(crate) bridge: String,
    /// MAC address of both [default: the NIC's, if this machine has a driver on it]
    #[arg(long, value_parser = parse_mac)]
    pub(crate) mac: Option<String>,
    /// Memory of the guest
    #[arg(long, value_name = "MiB", default_value_t = 256)]
    pub(crate) mem: u32,
    /// Name of the domain
    #[arg(long, default_value = "godwit")]
    pub(crate) name: String,
    /// The guest's command line
    #[arg(long, value_name = "guest command line", default_value = "", allow_hyphen_values = true)]
    pub(crate) append: String,
    /// The guest's image [default: built now]
    #[arg(long, value_name = "FILE")]
    pub(crate) image: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Also write what was found here
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// The guest's image to try KVM with [default: built now]
    #[arg(long, value_name = "FILE")]
    pub(crate) image: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Fetch {
    /// The directory; there, set GODWIT_DOWNLOADS to it
    #[arg(value_name = "DIR")]
    pub(crate) directory: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Clean {
    /// All of the cache, also what the next run would have to build or download again
    #[arg(long)]
    pub(crate) all: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Bench {
    /// Which benchmarks [default: all]
    #[arg(value_enum, value_name = "NAME")]
    pub(crate) names: Vec<BenchName>,
    /// `nic`, `instructions`: only these NICs, separated by commas
    /// [default: e1000,e1000e,igb,ixgbe; e1000e for `instructions`]
    #[arg(long, value_name = "NIC", value_delimiter = ',')]
    pub(crate) nic: Vec<NicModel>,
    /// `instructions`: only these cases, separated by commas
    #[arg(long, value_name = "CASE", value_delimiter = ',')]
    pub(crate) case: Vec<String>,
    /// How often each is measured
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = at_least_one())]
    pub(crate) rounds: u32,
    /// Write the results here
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) host: Host,
}

/// The benchmarks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum BenchName {
    /// What marking costs: for a page, a received frame, and a slot that is caught up
    Dma,
    /// Instructions that a frame costs the guest, by layer and function, counted by a plugin of a
    /// QEMU that takes some (Debian's does)
    Instructions,
    /// Godwit and Linux in turns on the same NIC: TCP both ways, and small datagrams, paced and
    /// flooded
    Nic,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ImageFormat {
    Elf,
    Disk,
    Iso,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    /// What `--help` gives as examples is what the tool takes.
    #[test]
    fn every_example_is_understood() {
        let mut count = 0;
        for line in examples::ALL.iter().flat_map(|text| text.lines()) {
            let Some(line) = line.trim().strip_prefix("cargo xtask ") else { continue };
            let line = line.split_once("  ").map_or(line, |(line, _)| line);
            let words = ["xtask".to_owned()].into_iter().chain(words(line));
            Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{line}: {error}"));
            count += 1;
        }
        assert!(count > 10, "{count}");
        assert!(Cli::try_parse_from(["xtask", "demo", "-q", "-v"]).is_err());
    }

    /// As a shell splits it, with quotes around whole words only.
    fn words(line: &str) -> Vec<String> {
        let mut words = Vec::new();
        for (index, part) in line.split('\'').enumerate() {
            match index % 2 {
                0 => words.extend(part.split_whitespace().map(str::to_owned)),
                _ => words.push(part.to_owned()),
            }
        }
        words
    }

    #[test]
    fn patches_are_numbered_from_one_and_both_ends_may_be_left_out() {
        let numbers = |text: &str| text.parse::<Numbers>().map(|range| (range.first, range.last));
        assert_eq!(numbers("3..5"), Ok((3, Some(5))));
        assert_eq!(numbers("7"), Ok((7, Some(7))));
        assert_eq!(numbers(".."), Ok((1, None)));
        assert_eq!(numbers("4.."), Ok((4, None)));
        for wrong in ["", "0", "0..2", "a..", "1...2"] {
            assert!(numbers(wrong).is_err(), "{wrong}");
        }
    }
}

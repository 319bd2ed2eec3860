//! What looks after this repository and this machine: tests, benchmarks, QEMU, downloads.

use std::{path::PathBuf, str::FromStr};

use clap::{Args, ValueEnum};
use lab::parts::NicModel;

use super::common::{Host, at_least_one};

#[derive(Debug, Args)]
pub(crate) struct Test {
    /// Leave the nested lab out
    #[arg(long, conflicts_with = "long")]
    pub(crate) quick: bool,
    /// Also the long repetitions: ten migrations to and fro, under each kind of traffic
    #[arg(long)]
    pub(crate) long: bool,
    /// How many tests run at the same time, but for those that always run alone [default: 2, or 1
    /// on one processor]
    #[arg(long, value_name = "N", value_parser = at_least_one())]
    pub(crate) lanes: Option<u32>,
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
pub(crate) struct Book {
    /// Put it there, in place of what is there [default: book, in cargo's target directory]
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Bench {
    /// Which benchmarks [default: all]
    #[arg(value_enum, value_name = "NAME")]
    pub(crate) names: Vec<BenchName>,
    /// `nic`, `instructions`, `boot`: only these NICs, separated by commas
    /// [default: e1000,e1000e,igb,ixgbe; e1000e for `instructions` and `boot`, which takes one]
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

#[derive(Debug, Args)]
pub(crate) struct Fuzz {
    /// Which readers [default: all]
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<String>,
    /// How long each is fuzzed
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = at_least_one())]
    pub(crate) seconds: u32,
}

/// The benchmarks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum BenchName {
    /// Instructions from a machine's start to its first reply, by what they are for, and the time
    /// that it takes
    Boot,
    /// What marking costs: for a page, a received frame, and a slot that is caught up
    Dma,
    /// Instructions that a frame costs the guest, by layer and function, counted by a plugin of a
    /// QEMU that takes some (Debian's does)
    Instructions,
    /// Godwit and Linux in turns on the same NIC: TCP both ways, and small datagrams, paced and
    /// flooded
    Nic,
    /// Nanoseconds and cycles of a frame on this processor, from the driver to the application and
    /// back, with a NIC in memory
    Native,
    /// Bytes that images load: code and data
    Size,
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
pub(crate) struct Completions {
    /// The shell
    #[arg(value_enum)]
    pub(crate) shell: clap_complete::Shell,
}

#[cfg(test)]
mod tests {
    use super::*;

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

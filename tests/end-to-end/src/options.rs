//! The suite's command line, which is that of `cargo xtask test`.

use std::{
    num::NonZeroUsize,
    path::{Path, PathBuf},
    thread,
};

use clap::Parser;

/// Tests at the same time, where there are processors for them. More have not been tried.
const LANES: usize = 2;

/// The kernel of the lab's virtual host, if one was given.
pub(crate) type Kernel = Option<&'static Path>;

/// Everything that CI runs.
#[derive(Debug, Parser)]
pub(crate) struct Options {
    /// Leave the nested lab out
    #[arg(long, conflicts_with = "long")]
    pub(crate) quick: bool,
    /// Also the long repetitions
    #[arg(long)]
    pub(crate) long: bool,
    /// Print the names of the tests, and run none
    #[arg(long)]
    pub(crate) list: bool,
    /// How many tests run at the same time
    #[arg(long, value_name = "N")]
    lanes: Option<NonZeroUsize>,
    /// Only tests whose name contains this
    pub(crate) filter: Option<String>,
    /// Kernel of the lab's virtual host
    #[arg(long, value_name = "PATH")]
    host_kernel: Option<PathBuf>,
}

impl Options {
    /// How many tests are to run at the same time.
    pub(crate) fn lanes(&self) -> usize {
        let processors = || thread::available_parallelism().map_or(1, usize::from);
        self.lanes.map_or_else(|| processors().min(LANES), usize::from)
    }

    /// The kernel that was given, for as long as tests may want it.
    pub(crate) fn kernel(&self) -> Kernel {
        let kernel = self.host_kernel.clone()?;
        Some(Box::leak(kernel.into_boxed_path()))
    }
}

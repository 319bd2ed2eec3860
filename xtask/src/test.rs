//! `cargo xtask test`: builds and runs the suite in `tests/end-to-end`.

use anyhow::Result;
use lab::{build::crates, system::paths};

use crate::{cli::Test, ending::Ending};

pub(crate) fn main(options: &Test) -> Result<Ending> {
    let mut suite = crates::cargo();
    suite.args(["run", "--package", "end-to-end", "--"]).current_dir(paths::checkout());
    for (option, is_given) in
        [("--quick", options.quick), ("--long", options.long), ("--list", options.list)]
    {
        suite.args(is_given.then_some(option));
    }
    if let Some(lanes) = options.lanes {
        suite.args(["--lanes", &lanes.to_string()]);
    }
    if let Some(kernel) = options.host.kernel() {
        suite.arg("--host-kernel").arg(std::path::absolute(kernel)?);
    }
    if let Some(filter) = &options.filter {
        suite.args(["--", filter]);
    }
    Ok(if suite.status()?.success() { Ending::AsAsked } else { Ending::Failed })
}

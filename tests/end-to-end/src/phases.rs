//! A capture from the guest, fetched over and over while it is migrated: it says at which frame
//! each phase began.

use std::{fs, path::Path};

use anyhow::{Result, ensure};
use lab::{
    addresses::HTTP_PORT,
    system::tools::{self, Tool},
};

use crate::{
    migrations::{completed, migrate, path},
    options::Kernel,
    suite::{MINUTES, Suite},
    tshark::{FAULTS, TSHARK, tshark},
};

pub(crate) fn add(suite: &mut Suite, kernel: Kernel) {
    suite.test("captures that say where a migration's phases began", MINUTES, move |log| {
        phases(log, kernel)
    });
}

fn phases(log: &Path, kernel: Kernel) -> Result<String> {
    tools::require("this test", &[Tool::program("curl", "curl"), TSHARK])?;
    let captures = tempfile::tempdir()?;
    let client = format!(
        "curl --silent --show-error --fail --max-time 60 http://{{host}}:{{port}}/capture.pcapng \
         --output '{}'/$(date +%s%N).pcapng && sleep 1",
        captures.path().display()
    );
    let port = HTTP_PORT.to_string();
    let traffic = ["--traffic", "client", "--port", &port, "--client", &client];
    let migration =
        migrate(log, kernel, &[&["--lab", "local", "--nic", "e1000e"], &traffic[..]].concat())?;
    completed(&migration)?;
    let mut said = Vec::new();
    for entry in fs::read_dir(captures.path())? {
        let capture = entry?.path();
        let wrong = tshark(&capture, FAULTS, "frame.number")?;
        ensure!(wrong.is_empty(), "tshark finds fault with {}: {wrong:?}", path(&capture)?);
        said.extend(tshark(&capture, "frame.comment", "frame.comment")?);
    }
    for phase in ["warm-up", "arrived"] {
        ensure!(said.iter().any(|comment| comment.contains(phase)), "no {phase} in {said:?}");
    }
    Ok(format!("{} comments", said.len()))
}

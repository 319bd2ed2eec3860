//! What libvirt itself says of the domain that the tool writes for it.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result, ensure};
use lab::system::{
    command,
    tools::{self, Tool},
};

use crate::{
    migrations::path,
    program::xtask,
    suite::{MINUTES, Suite},
};

/// libvirt's schemas come with the first, and what reads them with the second.
const TOOLS: [Tool; 2] = [
    Tool::program("virt-xml-validate", "libvirt-clients"),
    Tool::program("xmllint", "libxml2-utils"),
];

pub(crate) fn add(suite: &mut Suite) {
    suite.test("libvirt's schema has libvirt-xml's domain", MINUTES, validated);
}

fn validated(log: &Path) -> Result<String> {
    tools::require("this test", &TOOLS)?;
    let name = "a <b> & 'c'";
    let mut tool = xtask()?;
    tool.args(["libvirt-xml", "--nic", "0000:03:00.1", "--mac", "52:54:00:67:6f:01"]);
    tool.args(["--name", name, "--append", "ip=10.0.2.15/24 log=debug"]);
    let domain = String::from_utf8(command::run(&mut tool)?.stdout)?;
    let is_valid = |domain: &str| {
        let file = log.with_extension("xml");
        fs::write(&file, domain)?;
        let output = Command::new("virt-xml-validate").args([path(&file)?, "domain"]).output()?;
        fs::write(log, [output.stdout, output.stderr].concat())?;
        Ok::<_, anyhow::Error>(output.status.success())
    };
    // That it refuses what libvirt does not know, be it libvirt's own or QEMU's.
    for (known, unknown) in [
        ("<teaming type='transient'", "<teaming type='passing'"),
        ("<qemu:property name='x-dirty-log' type='bool'", "<qemu:property name='x-dirty-log'"),
        ("bus='0x03'", "bus='3rd'"),
    ] {
        let (before, after) = domain.split_once(known).with_context(|| format!("no {known}"))?;
        let is_refused = !is_valid(&format!("{before}{unknown}{after}"))?;
        ensure!(is_refused, "{unknown} is said to be valid: the test cannot fail");
    }
    ensure!(is_valid(&domain)?, "{}", fs::read_to_string(log)?);
    Ok(String::new())
}

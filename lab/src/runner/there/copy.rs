//! What a machine is run by, copied to where it is to run.

use std::{
    collections::BTreeMap,
    env,
    fs::File,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{
    initramfs::FIRMWARE,
    parts::Qemu,
    system::{
        command,
        libraries::{LOADER, libraries},
    },
};

/// Makes the directory there, and says where it is.
pub(super) const MAKE: &str = "directory=$(mktemp -d /tmp/godwit-XXXXXXXXXX) && cd $directory && \
                               mkdir lib data && mkfifo console && echo $directory";

/// The directory there, and what is in it.
#[derive(Debug)]
pub(super) struct Copied {
    directory: String,
}

impl Copied {
    /// Copies all of it. `session` makes a program there of a line of its shell's.
    pub(super) fn new(
        directory: &str,
        qemu: &Qemu,
        guest: &Path,
        session: impl Fn(&str) -> Command,
    ) -> Result<Self> {
        let tool = env::current_exe()?;
        let mut files: BTreeMap<String, PathBuf> = BTreeMap::from([
            ("tool".into(), tool.clone()),
            ("qemu".into(), qemu.binary.clone()),
            ("guest".into(), guest.into()),
        ]);
        for library in [libraries(&tool)?, libraries(&qemu.binary)?].concat() {
            let name = library.file_name().and_then(|name| name.to_str()).context("library")?;
            files.insert(format!("lib/{name}"), library.clone());
        }
        let qemu = Qemu { data: data_of(qemu)?, ..qemu.clone() };
        for name in FIRMWARE {
            files.insert(format!("data/{name}"), qemu.firmware(name)?);
        }
        for (name, from) in files {
            let file = File::open(&from).with_context(|| from.display().to_string())?;
            let output = session(&format!("cat > {directory}/{name}")).stdin(file).output()?;
            if !output.status.success() {
                let said = String::from_utf8_lossy(&output.stderr);
                bail!("cannot copy {name} there:\n{}", command::tail(&said, 4));
            }
        }
        command::run(&mut session(&format!("cd {directory} && chmod 700 lib/* tool qemu")))?;
        Ok(Self { directory: directory.into() })
    }

    pub(super) fn directory(&self) -> &str {
        &self.directory
    }

    /// This tool there, with arguments, as a shell takes it.
    pub(super) fn tool(&self, words: &[&str]) -> String {
        format!("exec {} {}", self.program("tool").join(" "), words.join(" "))
    }

    /// QEMU's command line up to the machine.
    pub(super) fn qemu(&self) -> Vec<String> {
        let mut line = self.program("qemu");
        line.extend(["-L".into(), self.path("data")]);
        line
    }

    /// The guest's image.
    pub(super) fn guest(&self) -> String {
        self.path("guest")
    }

    /// The FIFO that the console goes to.
    pub(super) fn console(&self) -> String {
        self.path("console")
    }

    /// The file with the number of QEMU's process.
    pub(super) fn process(&self) -> String {
        self.path(super::hold::PROCESS)
    }

    /// A program that was copied, by the loader and the libraries that were copied with it.
    fn program(&self, name: &str) -> Vec<String> {
        let loader = Path::new(LOADER).file_name().unwrap_or_default().to_string_lossy();
        let (loader, libraries) = (self.path(&format!("lib/{loader}")), self.path("lib"));
        vec![loader, "--library-path".into(), libraries, self.path(name)]
    }

    fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.directory)
    }
}

/// Where a QEMU has its firmware, one that knows by itself included.
fn data_of(qemu: &Qemu) -> Result<Vec<PathBuf>> {
    if !qemu.data.is_empty() {
        return Ok(qemu.data.clone());
    }
    let said = command::run(Command::new(&qemu.binary).args(["-L", "help"]))?.stdout;
    Ok(String::from_utf8_lossy(&said).lines().map(PathBuf::from).collect())
}

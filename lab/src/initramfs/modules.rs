//! Kernel modules of a package that nobody installed: found, and put in the order to load them.

use std::{
    collections::{HashMap, HashSet},
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};
use object::{Object, ObjectSection};

/// A module to load.
pub(super) struct Module {
    /// Its name, underscores for dashes.
    pub(super) name: String,
    pub(super) parameters: &'static str,
    /// The ELF object.
    pub(super) object: Vec<u8>,
}

/// The `wanted` modules, each with its parameters, below `directory` (`…/lib/modules/RELEASE`) and
/// what they depend on, in an order to load them. Modules built into the kernel are left out.
pub(super) fn collect(directory: &Path, wanted: &[(&str, &'static str)]) -> Result<Vec<Module>> {
    let mut search = Search {
        files: HashMap::new(),
        built_in: built_in(directory)?,
        seen: HashSet::new(),
        found: Vec::new(),
    };
    index(&directory.join("kernel"), &mut search.files)
        .with_context(|| format!("modules in {}", directory.display()))?;
    for (name, parameters) in wanted {
        search.add(name, parameters)?;
    }
    Ok(search.found)
}

struct Search {
    files: HashMap<String, PathBuf>,
    built_in: HashSet<String>,
    seen: HashSet<String>,
    found: Vec<Module>,
}

impl Search {
    /// Adds a module after what it depends on.
    fn add(&mut self, name: &str, parameters: &'static str) -> Result<()> {
        if self.built_in.contains(name) || !self.seen.insert(name.into()) {
            return Ok(());
        }
        let path = self.files.get(name).with_context(|| {
            format!(
                "the kernel has no module {name}: a package without it (\"cloud\") is no use here"
            )
        })?;
        let object = read(path)?;
        for dependency in dependencies(&object).with_context(|| path.display().to_string())? {
            self.add(&dependency, "")?;
        }
        self.found.push(Module { name: name.into(), parameters, object });
        Ok(())
    }
}

/// The names in `modules.builtin`.
fn built_in(directory: &Path) -> Result<HashSet<String>> {
    let path = directory.join("modules.builtin");
    let list = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    Ok(list.lines().filter_map(|line| module_name(Path::new(line))).collect())
}

fn index(directory: &Path, files: &mut HashMap<String, PathBuf>) -> Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            index(&path, files)?;
        } else if let Some(name) = module_name(&path) {
            files.insert(name, path);
        }
    }
    Ok(())
}

/// `kvm_amd` for `…/kvm-amd.ko.xz`. Only in file names are dashes and underscores different.
fn module_name(path: &Path) -> Option<String> {
    let (name, suffix) = path.file_name()?.to_str()?.split_once('.')?;
    suffix.starts_with("ko").then(|| name.replace('-', "_"))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let tool = match path.extension().and_then(OsStr::to_str) {
        Some("xz") => "xz",
        Some("zst") => "zstd",
        Some("gz") => "gzip",
        _ => return fs::read(path).with_context(|| path.display().to_string()),
    };
    let output = Command::new(tool)
        .arg("--decompress")
        .arg("--stdout")
        .arg(path)
        .output()
        .with_context(|| format!("{} needs {tool}", path.display()))?;
    ensure!(output.status.success(), "{tool} cannot unpack {}", path.display());
    Ok(output.stdout)
}

/// The `depends=` line of a module's `.modinfo`, which depmod reads too.
fn dependencies(object: &[u8]) -> Result<Vec<String>> {
    let file = object::File::parse(object).context("not an ELF object")?;
    let Some(section) = file.section_by_name(".modinfo") else { bail!("no section .modinfo") };
    let information = section.data()?;
    let depends = information
        .split(|&byte| byte == 0)
        .find_map(|line| line.strip_prefix(b"depends="))
        .unwrap_or_default();
    Ok(std::str::from_utf8(depends)?
        .split(',')
        .filter(|name| !name.is_empty())
        .map(|name| name.replace('-', "_"))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_from_paths() {
        for path in ["kernel/arch/x86/kvm/kvm-amd.ko", "kvm-amd.ko.xz", "kvm_amd.ko.zst"] {
            assert_eq!(module_name(Path::new(path)).as_deref(), Some("kvm_amd"), "{path}");
        }
        assert_eq!(module_name(Path::new("modules.order")), None);
    }

    #[test]
    fn a_kernel_without_the_modules_is_refused_by_name() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("kernel")).unwrap();
        fs::write(directory.path().join("modules.builtin"), "kernel/virtio_pci.ko\n").unwrap();
        let wanted = [("virtio_pci", ""), ("virtio_console", "")];
        let error = collect(directory.path(), &wanted).err().unwrap().to_string();
        assert!(error.contains("virtio_console"), "{error}");
    }
}

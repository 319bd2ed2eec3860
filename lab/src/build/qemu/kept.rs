//! A tree of QEMU that is kept, for what is looked into patch by patch: only what a step changes is
//! built anew.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Result;

use super::{
    build, firmware, lock,
    recipe::{CONFIGURE, QEMU_TARGET, TESTS, series},
    source,
    tree::Tree,
};
use crate::system::{command, paths};

/// Its place in the cache.
pub(super) const PLACE: &str = "qemu.tree";
/// What it was made by, written when it is complete.
const MADE_BY: &str = "made-by";
/// The patches that have been applied, as they were then.
const APPLIED: &str = "applied";
/// The directory of firmware that a QEMU looks into which runs where it was built.
const DATA: &str = "qemu-bundle/usr/local/share/qemu";
/// A patch that the compiler warns about is none to send.
const STRICT: &[&str] = &["--enable-werror"];

/// The tree, for one process at a time.
pub struct Kept {
    tree: Tree,
    root: PathBuf,
    series: Vec<PathBuf>,
    _lock: File,
}

/// One of the series' tests, and how many of its cases passed.
pub struct Passed {
    /// Its target in the build.
    pub test: &'static str,
    /// Not counting those that were skipped.
    pub cases: usize,
}

impl Kept {
    /// Makes it, unless it is there.
    ///
    /// # Errors
    /// It cannot be made, or a build of QEMU is running.
    pub fn open() -> Result<Self> {
        let cache = paths::cache()?;
        let lock = lock::lock()?;
        build::require(&cache)?;
        let tarball = source::get()?;
        let root = cache.join(PLACE);
        let tree = Tree::at(&root, &tarball.version);
        let made_by = format!("{} {STRICT:?} {CONFIGURE:?}", tarball.path.display());
        let mark = root.join(MADE_BY);
        if !fs::read_to_string(&mark).is_ok_and(|text| text == made_by) {
            if root.exists() {
                paths::remove_all([root.clone()])?;
            }
            fs::create_dir_all(root.join(APPLIED))?;
            tree.unpack(&tarball)?;
            tree.complete()?;
            tree.configure(STRICT)?;
            fs::write(&mark, made_by)?;
        }
        tree.complete()?;
        Ok(Self { tree, root, series: series()?, _lock: lock })
    }

    /// The names of the patches, in their order.
    #[must_use]
    pub fn patches(&self) -> Vec<String> {
        self.series.iter().map(|patch| name(patch)).collect()
    }

    /// Has the source be what the first `count` patches make of it, builds it, and runs those of
    /// the series' tests that it has by then.
    ///
    /// # Errors
    /// A patch that does not apply, what the compiler says, or what a test says that fails.
    pub fn check(&self, count: usize) -> Result<Vec<Passed>> {
        self.bring_to(count)?;
        let source = self.tree.source();
        let tests: Vec<_> = TESTS
            .into_iter()
            .filter(|target| source.join(format!("{target}.c")).exists())
            .collect();
        self.tree.compile(&[&[QEMU_TARGET], &tests[..]].concat())?;
        let run = |test| {
            let said = command::run(&mut self.program(test)?)?.stdout;
            let said = String::from_utf8_lossy(&said);
            Ok(Passed { test, cases: said.lines().filter(|line| is_passed(line)).count() })
        };
        tests.into_iter().map(run).collect()
    }

    /// A test of QEMU's by its target in the build, to be run with what the whole series makes of
    /// QEMU. The tree stays as it is only for as long as `self` is there.
    ///
    /// # Errors
    /// As those of [`Kept::check`].
    pub fn test(&self, target: &str) -> Result<Command> {
        self.bring_to(self.series.len())?;
        self.tree.compile(&[QEMU_TARGET, target])?;
        self.program(target)
    }

    /// A test that has been built, with what it needs.
    fn program(&self, test: &str) -> Result<Command> {
        let (source, build) = (self.tree.source(), self.tree.build());
        let packages = self.root.join("packages");
        for names in [firmware::OURS, firmware::OF_NICS] {
            firmware::gather(names, &source, &packages, &build.join(DATA))?;
        }
        let mut command = Command::new(build.join(test));
        // As meson would run it.
        command.arg("--tap").env("QTEST_QEMU_BINARY", build.join(QEMU_TARGET)).current_dir(build);
        Ok(command)
    }

    /// Applies patches, or takes back those that are not of the first `count`, or that have been
    /// changed since.
    fn bring_to(&self, count: usize) -> Result<()> {
        let applied = self.root.join(APPLIED);
        let mut there: Vec<PathBuf> =
            fs::read_dir(&applied)?.filter_map(|entry| Some(entry.ok()?.path())).collect();
        there.sort();
        let wanted = &self.series[..count];
        let same = there.iter().zip(wanted).take_while(|(one, other)| is_same(one, other)).count();
        for patch in there[same..].iter().rev() {
            self.tree.revert(patch)?;
            fs::remove_file(patch)?;
        }
        for patch in &wanted[same..] {
            let applying = self.tree.apply(patch);
            if applying.is_err() {
                // Some of it may have been: what is there is of no use any more.
                fs::remove_file(self.root.join(MADE_BY))?;
            }
            applying?;
            fs::copy(patch, applied.join(name(patch)))?;
        }
        Ok(())
    }
}

/// Whether a line of the test anything protocol says that a case passed.
#[must_use]
pub fn is_passed(line: &str) -> bool {
    line.starts_with("ok ") && !line.contains("# SKIP")
}

fn name(patch: &Path) -> String {
    patch.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// By name and content.
fn is_same(one: &Path, other: &Path) -> bool {
    name(one) == name(other) && fs::read(one).ok() == fs::read(other).ok()
}

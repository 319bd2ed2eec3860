//! libFuzzer on what the guest reads of strangers: `tests/fuzz`.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

use crate::{
    build::crates,
    system::{
        command, detail, paths,
        progress::Step,
        tools::{self, Tool},
    },
};

const PACKAGE: &str = "fuzz";
/// Named, so that build scripts and macros, which run on this machine as well, are not watched.
const TARGET: &str = "x86_64-unknown-linux-gnu";
/// Has each branch and comparison of a program count, as libFuzzer wants it
/// (<https://clang.llvm.org/docs/SanitizerCoverage.html>). A stable compiler does that, too.
const WATCHED: &str = "-Cpasses=sancov-module \
                       -Cllvm-args=-sanitizer-coverage-level=4 \
                       -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
                       -Cllvm-args=-sanitizer-coverage-pc-table \
                       -Cllvm-args=-sanitizer-coverage-trace-compares";
/// An input is read in milliseconds. One that takes so many seconds, on a busy machine, hangs.
const HANG: u32 = 100;
/// What its line begins with that says how many inputs were read.
const EXECUTED: &str = "stat::number_of_executed_units:";
/// MiB that a target may take.
const MEMORY: u32 = 2048;
/// Longest input in bytes.
const LONGEST: u32 = 8192;

/// The fuzzer, built.
#[derive(Debug)]
pub struct Fuzzer {
    program: PathBuf,
    /// Inputs to begin with, a folder for each target.
    inputs: PathBuf,
}

/// What came of running a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Inputs that were read.
    pub inputs: u64,
    /// Places in the code that some input got to.
    pub coverage: u64,
}

impl Fuzzer {
    /// Builds it; a C++ compiler is needed.
    ///
    /// # Errors
    /// It does not build.
    pub fn build() -> Result<Self> {
        tools::require("the fuzzer", &[Tool::program("c++", "g++")])?;
        let step = Step::new("Building the fuzzer");
        let mut build = crates::cargo();
        build.args(["build", "--quiet", "--package", PACKAGE, "--features", "libfuzzer"]);
        build.args(["--bin", PACKAGE, "--profile", "fuzz", "--target", TARGET]);
        build.env("RUSTFLAGS", WATCHED).env_remove("CARGO_ENCODED_RUSTFLAGS");
        command::run(build.current_dir(paths::checkout()))?;
        let program = paths::target().join(TARGET).join("fuzz").join(PACKAGE);
        let inputs = paths::target().join("fuzz-inputs");
        command::run(Command::new(&program).env("GODWIT_FUZZ_INPUTS", &inputs))?;
        step.finish("done");
        Ok(Self { program, inputs })
    }

    /// What there is to run, in order of name.
    ///
    /// # Errors
    /// What the build has left is gone.
    pub fn targets(&self) -> Result<Vec<String>> {
        let folders = fs::read_dir(&self.inputs).context("the fuzzer's inputs")?;
        let mut names: Vec<_> = folders
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect::<Result<_>>()?;
        names.sort();
        Ok(names)
    }

    /// Runs a target for so many seconds. What it finds is kept in the cache for the next run.
    ///
    /// # Errors
    /// An input does harm: where it is, and what the target said. Also if there is no such target.
    pub fn run(&self, target: &str, seconds: u32) -> Result<Run> {
        let seeds = self.inputs.join(target);
        ensure!(seeds.is_dir(), "there is no target {target}: {}", self.targets()?.join(", "));
        let found = paths::cache()?.join("fuzz").join(target);
        let harm = paths::target().join("fuzz-found").join(target);
        for folder in [&found, &harm] {
            fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        }
        let step = Step::new(format!("Fuzzing {target} for {seconds} s"));
        let mut fuzz = Command::new(&self.program);
        fuzz.args([&found, &seeds]).env("GODWIT_FUZZ", target).current_dir(env::temp_dir());
        fuzz.arg(format!("-artifact_prefix={}/", harm.display()));
        fuzz.args([format!("-max_total_time={seconds}"), format!("-timeout={HANG}")]);
        fuzz.args([format!("-rss_limit_mb={MEMORY}"), format!("-max_len={LONGEST}")]);
        fuzz.args(["-print_final_stats=1", "-use_value_profile=1", "-detect_leaks=0"]);
        detail::started(&fuzz);
        let output = fuzz.output().context("the fuzzer")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{}", harmed(target, &said, &harm));
        let run =
            summary(&said).with_context(|| format!("{target}: {}", command::tail(&said, 5)))?;
        step.finish(format_args!("{} inputs, {} places", run.inputs, run.coverage));
        Ok(run)
    }
}

fn harmed(target: &str, said: &str, harm: &Path) -> String {
    let panic = said.lines().skip_while(|line| !line.contains("panicked at")).take(3);
    let panic: Vec<_> = panic.map(|line| format!("    {line}")).collect();
    let why = if panic.is_empty() { command::tail(said, 10) } else { panic.join("\n") };
    format!(
        "an input harms {target}: it is in {}; what is mended keeps it in \
         tests/fuzz/corpus/{target}\n{why}",
        harm.display()
    )
}

/// What libFuzzer says in the end.
fn summary(said: &str) -> Option<Run> {
    let executed = said.lines().find_map(|line| line.strip_prefix(EXECUTED));
    let (_, coverage) = said.rsplit_once("cov: ")?;
    let coverage = coverage.split_whitespace().next()?;
    Some(Run { inputs: executed?.trim().parse().ok()?, coverage: coverage.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fuzzers_last_words_are_understood() {
        let said = "#2\tINITED cov: 10 ft: 11 corp: 1/1b exec/s: 0 rss: 30Mb\n\
                    #99\tDONE   cov: 412 ft: 900 corp: 7/9b lim: 4 exec/s: 9 rss: 40Mb\n\
                    Done 99 runs in 11 second(s)\n\
                    stat::number_of_executed_units: 99\nstat::average_exec_per_sec:     9\n";
        assert_eq!(summary(said), Some(Run { inputs: 99, coverage: 412 }));
        assert_eq!(summary("nothing"), None);
    }

    #[test]
    fn who_did_harm_is_told_with_what() {
        let said = "INFO: x\nthread 'a' panicked at b.rs:1:2:\nno room\nstack backtrace:\n";
        let told = harmed("dns", said, Path::new("/found"));
        assert!(told.contains("/found") && told.contains("tests/fuzz/corpus/dns"), "{told}");
        assert!(told.contains("b.rs:1:2") && told.contains("no room"), "{told}");
    }
}

//! Namespaces of this machine's kernel, for a user who may make them, or who may make one of users
//! first (user_namespaces(7)).

use std::process::Command;

use rustix::process::geteuid;

use super::process::Guard;

/// A command to be given a program with its arguments, then to [`Guard::spawn`], which runs it in a
/// namespace of its own: of a `kind` such as `--net`, as unshare(1) has it.
pub fn unshare(kind: &str) -> Command {
    let mut command = Guard::command("unshare");
    command.arg(kind);
    if !geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command.arg("--");
    command
}

/// The same in the namespace that another process has by [`unshare`].
pub fn enter(process: u32, kind: &str) -> Command {
    let mut command = Guard::command("nsenter");
    command.args(["--target", &process.to_string(), kind]);
    if !geteuid().is_root() {
        command.args(["--user", "--preserve-credentials"]);
    }
    command.arg("--");
    command
}

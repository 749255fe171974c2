//! Tests that need a process of their own: this test program, started again for one test that is ignored otherwise.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The command that runs the ignored test `name` in another process, in `directory`.
pub(crate) fn child(name: &str, directory: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", name, "--ignored", "--nocapture", "--test-threads=1"]).env(DIRECTORY, directory);
    command
}

/// The same, started by a line of shell that ends in `exec "$0" "$@"`.
pub(crate) fn child_of_shell(shell: &mut Command, script: &str, name: &str, directory: &Path) -> Command {
    let child = child(name, directory);
    let mut command = Command::new(shell.get_program());
    command.args(shell.get_args()).args(["-c", script]).arg(child.get_program()).args(child.get_args());
    command.env(DIRECTORY, directory);
    command
}

/// In the child: the directory it was given.
pub(crate) fn directory() -> PathBuf {
    std::env::var_os(DIRECTORY).expect("this test is started by another one").into()
}

/// Runs a child to its end.
pub(crate) fn passes(command: &mut Command) {
    let output = command.output().unwrap();
    let text = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).join("\n");
    assert!(output.status.success(), "{command:?}: {}\n{text}", output.status);
    assert!(text.contains("1 passed"), "no test has run: {text}");
}

const DIRECTORY: &str = "DENREI_STORE_TEST_DIRECTORY";

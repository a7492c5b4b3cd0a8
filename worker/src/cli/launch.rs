//! Replaces `worker` by `worker-torch`, which is linked to libtorch. Linking `worker` itself would cost a quarter of a
//! second and 60 MB at each start, whichever engine it runs.

use std::env;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

/// The program, in the same folder as this one. It takes the same arguments.
const PROGRAM: &str = "worker-torch";

/// The version of libtorch that the binding is made for.
const LIBTORCH_VERSION: &str = "2.13";

const REMEDY: &str =
    "run scripts/setup, or set LIBTORCH to the folder of your own libtorch, or use --engine native";

/// Replaces this process by `worker-torch` with the same arguments. Returns only the error if that fails.
pub fn become_torch() -> anyhow::Error {
    replace()
        .err()
        .unwrap_or_else(|| unreachable!("a replaced process does not continue"))
}

fn replace() -> anyhow::Result<std::convert::Infallible> {
    let program = env::current_exe()?.with_file_name(PROGRAM);
    anyhow::ensure!(
        program.is_file(),
        "{} is missing, and --engine torch needs it: build it with `cargo build --release -p {PROGRAM}`, or use \
         --engine native",
        program.display()
    );
    let mut command = Command::new(&program);
    if let Some(path) = library_path() {
        command.env("LD_LIBRARY_PATH", path);
    }
    if cfg!(target_os = "linux") {
        check_libtorch(&program)?;
    }
    let error = command.args(env::args_os().skip(1)).exec();
    Err(error).with_context(|| format!("cannot run {}", program.display()))
}

/// Returns the search path for libraries, with the user's own libtorch first.
fn library_path() -> Option<OsString> {
    let own =
        PathBuf::from(env::var_os("LIBTORCH").filter(|folder| !folder.is_empty())?).join("lib");
    let others = env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    env::join_paths([own].into_iter().chain(env::split_paths(&others))).ok()
}

/// Checks that the dynamic linker finds libtorch. Its own message would only name a file. The linker maps the libraries
/// and does nothing else, which takes a few milliseconds.
fn check_libtorch(program: &Path) -> anyhow::Result<()> {
    let mut command = Command::new(program);
    if let Some(path) = library_path() {
        command.env("LD_LIBRARY_PATH", path);
    }
    let listed = command.env("LD_TRACE_LOADED_OBJECTS", "1").output()?;
    match fault(&String::from_utf8_lossy(&listed.stdout)) {
        Some(fault) => anyhow::bail!("{fault}: {REMEDY}"),
        None => Ok(()),
    }
}

/// Returns the fault in the libraries that the linker lists, a line each: `name => path (address)` or `name => not found`.
fn fault(libraries: &str) -> Option<String> {
    if let Some(missing) = libraries.lines().find(|line| line.contains("=> not found")) {
        let name = missing.split_whitespace().next().unwrap_or_default();
        return Some(format!(
            "libtorch cannot be loaded, since {name} is not found"
        ));
    }
    let library = libraries
        .lines()
        .find(|line| line.trim_start().starts_with("libtorch_cpu.so "))?;
    let library = Path::new(library.split_whitespace().nth(2)?);
    let file = library.parent()?.parent()?.join("build-version");
    let version = std::fs::read_to_string(&file).ok()?;
    (!version.starts_with(LIBTORCH_VERSION)).then(|| {
        let (file, version) = (file.display(), version.trim());
        format!("libtorch {LIBTORCH_VERSION} is needed, and {file} says {version}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_library_is_named() {
        let listed = "\tlibc10.so => /opt/libtorch/lib/libc10.so (0x00007f)\n\tlibtorch_cpu.so => not found\n";
        assert_eq!(
            fault(listed).as_deref(),
            Some("libtorch cannot be loaded, since libtorch_cpu.so is not found")
        );
    }

    #[test]
    fn another_version_is_named_and_the_right_one_is_fine() {
        let folder = tempfile::TempDir::new().expect("a temporary folder");
        let library = folder.path().join("lib/libtorch_cpu.so");
        let listed = format!("\tlibtorch_cpu.so => {} (0x00007f)\n", library.display());
        let file = folder.path().join("build-version");
        assert_eq!(fault(&listed), None, "not every libtorch names its version");
        std::fs::write(&file, "2.13.0+cpu\n").expect("written");
        assert_eq!(fault(&listed), None);
        std::fs::write(&file, "2.12.1+cu130\n").expect("written");
        let text = fault(&listed).expect("a fault");
        assert!(text.contains("libtorch 2.13 is needed"), "{text}");
        assert!(text.ends_with("says 2.12.1+cu130"), "{text}");
    }
}

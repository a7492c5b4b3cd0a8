//! Programs, processor, and space on the disk.

use std::path::Path;

use platform::preflight::Finding;
use platform::preflight::Verdict::{self, Fail, Fine, Warn};
use tokio::process::Command;

use crate::{DoctorArgs, finding};

const MIB: u64 = 1024 * 1024;
/// Below this much space a service cannot work, and below that one soon.
const TOO_LITTLE: u64 = 200 * MIB;
const LITTLE: u64 = 1024 * MIB;

/// Instructions by their names in `/proc/cpuinfo`, worst first, with the name that `MUSTER_INSTRUCTIONS` has for them.
const INSTRUCTIONS: [(&str, &str); 5] = [
    ("avx2", "avx2"),
    ("avx_vnni", "avx-vnni"),
    ("avx512f", "avx512"),
    ("avx512_vnni", "avx512-vnni"),
    ("amx_int8", "amx"),
];

pub(crate) async fn examine(args: &DoctorArgs) -> Vec<Finding> {
    let mut findings = vec![
        finding("programs", programs(args)),
        finding("processor", processor()),
    ];
    let mut folders = args.data.clone();
    if folders.is_empty() {
        folders.push(std::env::temp_dir());
    }
    for folder in folders {
        findings.push(finding("disk", disk(&folder).await));
    }
    findings
}

fn programs(args: &DoctorArgs) -> Verdict {
    let folder = args.bin();
    let mut names = vec!["front", "gateway", "scaler", "worker"];
    if args.is_local() {
        names.push("localcloud");
    }
    if args.engine == "torch" {
        names.push("worker-torch");
    }
    let missing: Vec<_> = names
        .iter()
        .filter(|name| !folder.join(name).is_file())
        .copied()
        .collect();
    match missing[..] {
        [] => Fine(format!("{} in {}", names.join(", "), folder.display())),
        ["worker-torch"] => Fail(format!(
            "worker-torch, which has libtorch, is missing in {}: build it with `make up`, or use ENGINE=native",
            folder.display()
        )),
        _ => Fail(format!(
            "{} missing in {}: build with `make up`, or set MUSTER_BIN to the folder of the programs",
            missing.join(", "),
            folder.display()
        )),
    }
}

fn processor() -> Verdict {
    let Ok(text) = std::fs::read_to_string("/proc/cpuinfo") else {
        return Warn("not known: /proc/cpuinfo cannot be read".to_owned());
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let value = |key: &str| {
        let line = text.lines().find(|line| line.starts_with(key))?;
        Some(line.split_once(':')?.1.trim())
    };
    let (name, flags) = (
        value("model name").unwrap_or("unknown"),
        value("flags").unwrap_or_default(),
    );
    let has = |flag: &str| flags.split(' ').any(|it| it == flag);
    let best = INSTRUCTIONS.iter().rev().find(|(flag, _)| has(flag));
    let cores = match cores {
        1 => "1 core".to_owned(),
        cores => format!("{cores} cores"),
    };
    match best {
        Some((_, best)) => Fine(format!("{name}, {cores}, {best}")),
        None => Warn(format!(
            "{name}, {cores}, without AVX2: a photo takes several times as long; use a processor of 2013 or later"
        )),
    }
}

/// `df` is asked, since the standard library does not know.
async fn disk(folder: &Path) -> Verdict {
    let output = Command::new("df")
        .arg("-Pk")
        .arg(folder)
        .kill_on_drop(true)
        .output()
        .await;
    let free = output.ok().and_then(|output| {
        let text = String::from_utf8(output.stdout).ok()?;
        let kibibytes: u64 = text
            .lines()
            .nth(1)?
            .split_whitespace()
            .nth(3)?
            .parse()
            .ok()?;
        Some(kibibytes * 1024)
    });
    judge(free, folder)
}

fn judge(free: Option<u64>, folder: &Path) -> Verdict {
    let folder = folder.display();
    let Some(free) = free else {
        return Fail(format!(
            "{folder} does not exist or cannot be read: make it, or choose another folder"
        ));
    };
    let text = format!("{:.1} GB free for {folder}", free as f64 / 1e9);
    let mend = "delete what is not needed (`docker system prune`, old folders in target/), or choose another disk";
    match free {
        ..TOO_LITTLE => Fail(format!("{text}: {mend}")),
        TOO_LITTLE..LITTLE => Warn(format!("{text}: {mend}")),
        _ => Fine(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_fails_and_one_that_is_nearly_full_warns() {
        let folder = Path::new("/data");
        assert!(matches!(judge(Some(10 * MIB), folder), Fail(_)));
        assert!(matches!(judge(Some(500 * MIB), folder), Warn(_)));
        assert_eq!(
            judge(Some(20_000_000_000), folder),
            Fine("20.0 GB free for /data".to_owned())
        );
    }

    #[tokio::test]
    async fn a_folder_that_is_not_there_fails() {
        assert!(matches!(disk(Path::new("/no/such/folder")).await, Fail(_)));
        assert!(
            !matches!(disk(&std::env::temp_dir()).await, Fail(text) if text.contains("does not exist"))
        );
    }
}

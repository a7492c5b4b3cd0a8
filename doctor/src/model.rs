//! Whether a worker can load its model and its gallery, by having one load them.

use platform::preflight::Finding;
use platform::preflight::Verdict::{self, Fail, Fine, Warn};
use serde_json::Value;
use tokio::process::Command;

use crate::{DoctorArgs, finding};

/// How long a worker may take to load on a slow machine.
const REPLY_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(60);

pub(crate) async fn examine(args: &DoctorArgs) -> Vec<Finding> {
    vec![finding("model", load(args).await)]
}

async fn load(args: &DoctorArgs) -> Verdict {
    let program = args.bin().join("worker");
    let (Some(models), Some(gallery)) = (&args.models, &args.gallery) else {
        return Warn(
            "not checked: set MUSTER_MODELS and MUSTER_GALLERY to what the workers load".to_owned(),
        );
    };
    for (path, mend) in [
        (models, "run `make setup`, or set MUSTER_MODELS"),
        (
            gallery,
            "make one with `worker enrol`, or set MUSTER_GALLERY (GALLERY=FILE of `make up`)",
        ),
    ] {
        if let Err(error) = std::fs::metadata(path) {
            return Fail(format!("{}: {error}: {mend}", path.display()));
        }
    }
    // `worker ready` prints a line once the networks and the gallery are loaded. After that it asks for a photo, of which
    // there is none here.
    let mut command = Command::new(&program);
    command
        .args(["ready", "--engine", &args.engine, "--models"])
        .arg(models)
        .arg("--gallery")
        .arg(gallery);
    command.arg("/dev/null").kill_on_drop(true);
    let output = match tokio::time::timeout(REPLY_TIMEOUT, command.output()).await {
        Ok(Ok(output)) => output,
        Ok(Err(error)) => {
            return Warn(format!(
                "not checked: {} cannot be run: {error}",
                program.display()
            ));
        }
        Err(_) => {
            return Fail(format!(
                "a worker does not load within {} s: is the machine overloaded?",
                REPLY_TIMEOUT.as_secs()
            ));
        }
    };
    let first = String::from_utf8_lossy(&output.stdout)
        .lines()
        .next()
        .and_then(|line| serde_json::from_str::<Value>(line).ok());
    match first {
        Some(ready) => Fine(format!(
            "{} and {} load with --engine {} ({}) in {:.0} ms",
            models.display(),
            gallery.display(),
            args.engine,
            ready["runs_on"].as_str().unwrap_or("unknown"),
            ready["ready_ms"].as_f64().unwrap_or_default()
        )),
        None => {
            let errors = String::from_utf8_lossy(&output.stderr);
            let last = errors
                .lines()
                .rfind(|line| !line.trim().is_empty())
                .unwrap_or("no message");
            Fail(format!(
                "a worker cannot load: {}: check MUSTER_MODELS, MUSTER_GALLERY and MUSTER_ENGINE; \
                 a gallery belongs to the model that it was enrolled with",
                last.trim_start_matches("worker: ")
                    .trim_start_matches("Error: ")
            ))
        }
    }
}

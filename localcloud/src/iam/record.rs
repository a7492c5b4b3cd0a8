//! The record: a file with a line of JSON for each access of a role.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;

use serde::Serialize;
use tracing::error;

use super::access::Access;
use super::evaluate::Decision;
use super::session::Session;

/// Appends lines from a thread of its own.
#[derive(Debug)]
pub struct Recorder(Mutex<Option<Writer>>);

#[derive(Debug)]
struct Writer {
    lines: Sender<Vec<u8>>,
    thread: JoinHandle<()>,
}

/// One access and its decision.
#[derive(Debug, Serialize)]
pub struct Record<'a> {
    principal: String,
    role: &'a str,
    action: &'a str,
    resource: &'a str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    dry_run: bool,
    /// `allowed` or `denied`.
    decision: &'static str,
    /// The statement that decided; absent when none allows the access.
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<By<'a>>,
}

/// A statement, with the action and the resource of it that match.
#[derive(Debug, Serialize)]
struct By<'a> {
    policy: &'a str,
    sid: &'a str,
    action: &'a str,
    resource: &'a str,
}

impl Recorder {
    /// Opens the file to append to, and starts the thread that writes to it.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn open(file: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(file)?;
        let (lines, receiver) = channel();
        let thread = std::thread::Builder::new()
            .name("record".to_owned())
            .spawn(move || {
                if let Err(error) = write(file, &receiver) {
                    error!(%error, "calls are no longer recorded");
                }
            })?;
        Ok(Self(Mutex::new(Some(Writer { lines, thread }))))
    }

    pub fn add(&self, record: &Record<'_>) {
        let mut line = serde_json::to_vec(record).unwrap_or_default();
        line.push(b'\n');
        let open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(writer) = &*open {
            // It fails only after an error of the file, which is logged.
            let _ = writer.lines.send(line);
        }
    }

    /// Returns when everything is written.
    pub fn close(&self) {
        let open = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Writer { lines, thread }) = open {
            drop(lines);
            let _ = thread.join();
        }
    }
}

/// Writes until the senders are gone. The file is current whenever no lines wait.
fn write(file: File, lines: &Receiver<Vec<u8>>) -> io::Result<()> {
    let mut file = BufWriter::new(file);
    while let Ok(line) = lines.recv() {
        file.write_all(&line)?;
        while let Ok(line) = lines.try_recv() {
            file.write_all(&line)?;
        }
        file.flush()?;
    }
    Ok(())
}

impl<'a> Record<'a> {
    pub fn of(session: &'a Session, access: &'a Access, decision: &Decision<'a>) -> Self {
        let (word, by) = match decision {
            Decision::Allowed(by) => ("allowed", Some(by)),
            Decision::Denied(by) => ("denied", Some(by)),
            Decision::NotAllowed => ("denied", None),
        };
        Self {
            principal: session.arn(),
            role: &session.role.name,
            action: &access.action,
            resource: &access.resource,
            dry_run: access.dry_run,
            decision: word,
            by: by.map(|by| By {
                policy: &by.policy.name,
                sid: &by.statement.sid,
                action: by.action,
                resource: by.resource,
            }),
        }
    }
}

//! GetConsoleOutput: what an instance's process wrote.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::time::UNIX_EPOCH;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::params::Params;
use super::time::timestamp;
use super::{Ec2, Ec2Error};
use crate::clock::Millis;
use crate::xml::Xml;

/// How much of the end of a log EC2 answers.
const MOST_BYTES: u64 = 64 * 1024;

impl Ec2 {
    pub(super) fn get_console_output(
        &self,
        params: &Params,
        request_id: &str,
    ) -> Result<String, Ec2Error> {
        let id = params.instance_id()?;
        self.lock()
            .instances
            .check_exist(&[id.to_owned()], self.clock.now())?;
        // An instance that never ran has no log.
        let output = end_of(&self.folder_of(id).join("console.log")).ok();
        Ok(Xml::response("GetConsoleOutput", request_id, |xml| {
            xml.text("instanceId", id);
            let written = output.as_ref().map(|(_, written)| *written);
            xml.text(
                "timestamp",
                timestamp(written.unwrap_or_else(|| self.clock.now())),
            );
            if let Some((bytes, _)) = &output {
                xml.text("output", STANDARD.encode(bytes));
            }
        }))
    }
}

/// The last bytes of a file, and when it was written last.
fn end_of(path: &Path) -> io::Result<(Vec<u8>, Millis)> {
    let mut file = File::open(path)?;
    let metadata = file.metadata()?;
    file.seek(SeekFrom::Start(metadata.len().saturating_sub(MOST_BYTES)))?;
    let mut bytes = Vec::new();
    file.take(MOST_BYTES).read_to_end(&mut bytes)?;
    let written = metadata.modified()?.duration_since(UNIX_EPOCH);
    let written = written.unwrap_or_default().as_millis() as Millis;
    Ok((bytes, written))
}

//! GetConsoleOutput.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::time::UNIX_EPOCH;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::params::Params;
use super::{Ec2, Ec2Result};
use crate::clock::Millis;
use crate::timestamp::timestamp;
use crate::xml::Xml;

/// EC2 returns the last 64 KiB of a log.
const MAX_BYTES: u64 = 64 * 1024;

impl Ec2 {
    pub(super) fn get_console_output(&self, params: &Params, xml: &mut Xml) -> Ec2Result {
        let id = params.instance_id()?;
        self.lock().instances.visible(id, self.clock.now())?;
        // An instance that never ran has no log.
        let output = end_of(&self.folder_of(id).join("console.log")).ok();
        let written = output.as_ref().map(|(_, written)| *written);
        xml.text("instanceId", id);
        let written = written.unwrap_or_else(|| self.clock.now());
        xml.text("timestamp", timestamp(written));
        xml.optional("output", output.map(|(bytes, _)| STANDARD.encode(bytes)));
        Ok(())
    }
}

/// Returns the last bytes of a file, and the time of its last change.
fn end_of(path: &Path) -> io::Result<(Vec<u8>, Millis)> {
    let mut file = File::open(path)?;
    let metadata = file.metadata()?;
    file.seek(SeekFrom::Start(metadata.len().saturating_sub(MAX_BYTES)))?;
    let mut bytes = Vec::new();
    file.take(MAX_BYTES).read_to_end(&mut bytes)?;
    let written = metadata.modified()?.duration_since(UNIX_EPOCH);
    let written = written.unwrap_or_default().as_millis() as Millis;
    Ok((bytes, written))
}

//! What the targets share. Modules of gateway and worker are compiled here from their places, since those crates need
//! aws-sdk-ec2, which takes many minutes and gigabytes to build.

pub mod memory;

#[path = "../../gateway/src"]
pub mod gateway {
    pub mod byte_budget;
    pub mod discard;
    pub mod error;
    pub mod http {
        pub mod disposition;
        pub mod upload;
        pub mod videos {
            pub mod clip_upload;
        }
    }
}

#[path = "../../worker/src"]
pub mod worker {
    pub mod kernels;
    pub mod model;
    pub mod prepare;
    pub mod vision;
}

#[path = "../../localcloud/tests/it/fuzz/xml.rs"]
mod xml;

use bytes::Bytes;
use http::{Method, Request};

// Where the modules look for each other.
use gateway::{byte_budget, discard, error};
pub use worker::{kernels, model, prepare, vision};
pub use xml::is_well_formed as is_xml;

/// Converts a file of torch to a gallery and to an embedder, and a file of Keras to an embedder.
pub fn convert_checkpoint(file: &[u8]) {
    use prepare::convert::{fold, gallery_rows};
    use prepare::convert::{keras::KerasWeights, state_dict::StateDict, torch_file::TorchFile};
    if let Ok(file) = TorchFile::parse(file) {
        let _ = gallery_rows::gallery(&file);
        let _ = StateDict::of(&file).and_then(fold::embedder);
    }
    let _ = KerasWeights::parse(file).and_then(fold::embedder);
}

/// Reads a request: a line with method and path, lines with headers, an empty line, the body. `None` if it is not HTTP.
pub fn request(bytes: &[u8]) -> Option<Request<Bytes>> {
    let (head, body) = match bytes.windows(2).position(|pair| pair == b"\n\n") {
        Some(end) => (&bytes[..end], &bytes[end + 2..]),
        None => (bytes, &b""[..]),
    };
    let mut lines = head.split(|&byte| byte == b'\n');
    let mut words = lines.next()?.splitn(2, |&byte| byte == b' ');
    let method = Method::from_bytes(words.next()?).ok()?;
    let mut request = Request::builder().method(method).uri(words.next()?);
    for line in lines {
        let colon = line.iter().position(|&byte| byte == b':')?;
        request = request.header(&line[..colon], line[colon + 1..].trim_ascii());
    }
    request.body(Bytes::copy_from_slice(body)).ok()
}

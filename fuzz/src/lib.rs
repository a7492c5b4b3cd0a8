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
    }
}

#[path = "../../worker/src"]
pub mod worker {
    pub mod kernels;
    pub mod model;
    pub mod vision;
}

// Where the modules look for each other.
use gateway::{byte_budget, discard, error};
pub use worker::{kernels, model, vision};

/// Converts a file of torch to a gallery and to an embedder, and a file of Keras to an embedder.
pub fn convert_checkpoint(file: &[u8]) {
    use model::convert::{fold, gallery_rows};
    use model::convert::{keras::KerasWeights, state_dict::StateDict, torch_file::TorchFile};
    if let Ok(file) = TorchFile::parse(file) {
        let _ = gallery_rows::gallery(&file);
        let _ = StateDict::of(&file).and_then(fold::embedder);
    }
    let _ = KerasWeights::parse(file).and_then(fold::embedder);
}

/// Whether quick-xml reads a text to its end.
pub fn is_xml(text: &str) -> bool {
    let mut reader = quick_xml::Reader::from_str(text);
    loop {
        match reader.read_event() {
            Ok(quick_xml::events::Event::Eof) => return true,
            Ok(_) => {}
            Err(_) => return false,
        }
    }
}

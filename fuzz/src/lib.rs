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
    pub mod vision;
}

// Where the modules look for each other.
use gateway::{byte_budget, discard, error};
use worker::vision;

/// Reads a file as `torch.save` writes them, and converts what it holds to a gallery and to an embedder.
pub fn convert_checkpoint(file: &[u8]) {
    use vision::convert::{fold, gallery_rows, torch_file::TorchFile};
    if let Ok(file) = TorchFile::parse(file) {
        let _ = gallery_rows::gallery(&file);
        let _ = fold::embedder(&file);
    }
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

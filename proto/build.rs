//! Generates code from the `.proto` files with protox, which needs no installed `protoc`.

use std::path::PathBuf;

use prost::Message;

const FILES: [&str; 5] = [
    "muster/v1/recognition.proto",
    "muster/v1/recognizer.proto",
    "muster/v1/job.proto",
    "muster/v1/scaler.proto",
    "muster/v1/video.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for file in FILES {
        println!("cargo:rerun-if-changed={file}");
    }
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    let descriptors = protox::compile(FILES, ["."])?;
    std::fs::write(
        out.join("muster.v1.descriptors.bin"),
        descriptors.encode_to_vec(),
    )?;
    let mut generator = prost_build::Config::new();
    generator.enable_type_names();
    generator.bytes([
        ".muster.v1.RecognizeRequest.image",
        ".muster.v1.SubmitVideoRequest.chunk",
    ]);
    for part_of_json_response in [
        "Recognition",
        "Candidate",
        "BoundingBox",
        "Point",
        "Timings",
    ] {
        let message = format!(".muster.v1.{part_of_json_response}");
        generator.message_attribute(message, "#[derive(serde::Serialize)]");
    }
    tonic_prost_build::configure().compile_fds_with_config(descriptors, generator)?;
    Ok(())
}

//! Checks that libtorch is there and writes its folder into the binaries, so that they start without LD_LIBRARY_PATH.

use std::path::Path;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=LIBTORCH");
    let Some(libtorch) = std::env::var("LIBTORCH")
        .ok()
        .filter(|folder| !folder.is_empty())
    else {
        println!(
            "cargo::error=LIBTORCH is not set: run scripts/setup, or set it to the folder of your own libtorch"
        );
        return;
    };
    let libraries = Path::new(&libtorch).join("lib");
    if !libraries.is_dir() {
        println!("cargo::error=LIBTORCH is {libtorch}, which has no lib folder: run scripts/setup");
        return;
    }
    println!("cargo::rustc-link-arg=-Wl,-rpath,{}", libraries.display());
}

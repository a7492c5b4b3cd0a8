//! Checks that libtorch is there, compiles src/operators.cc, and writes libtorch's folder into the programs, so that
//! they start without LD_LIBRARY_PATH.

use std::path::{Path, PathBuf};

fn main() {
    println!("cargo::rerun-if-changed=src/operators.cc");
    println!("cargo::rerun-if-env-changed=LIBTORCH");
    println!("cargo::rerun-if-env-changed=LIBTORCH_CXX11_ABI");
    let Some(libtorch) = std::env::var_os("LIBTORCH")
        .filter(|folder| !folder.is_empty())
        .map(PathBuf::from)
    else {
        println!(
            "cargo::error=LIBTORCH is not set: run scripts/setup, or set it to the folder of your own libtorch. Without \
             libtorch, build with `--exclude worker-torch` and run with `--engine native`"
        );
        return;
    };
    let [libraries, headers] = ["lib", "include"].map(|folder| libtorch.join(folder));
    if !libraries.is_dir() || !headers.is_dir() {
        println!(
            "cargo::error=LIBTORCH is {}, which has no folders `lib` and `include`: run scripts/setup",
            libtorch.display()
        );
        return;
    }
    let abi = std::env::var("LIBTORCH_CXX11_ABI").unwrap_or_else(|_| "1".to_owned());
    cc::Build::new()
        .cpp(true)
        .std("c++17")
        .warnings(false)
        .include(&headers)
        .include(headers.join("torch/csrc/api/include"))
        .define("_GLIBCXX_USE_CXX11_ABI", Some(abi.as_str()))
        .file("src/operators.cc")
        .compile("muster_operators");
    add_run_path(Path::new("$ORIGIN/libtorch/lib"));
    add_run_path(&libraries);
}

/// Adds a folder that the program searches for libtorch before the system's folders.
fn add_run_path(folder: &Path) {
    println!("cargo::rustc-link-arg=-Wl,-rpath,{}", folder.display());
}

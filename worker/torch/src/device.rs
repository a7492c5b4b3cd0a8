//! The devices that libtorch computes on.

use tch::{Cuda, Device};
use worker::vision::LoadError;

/// Returns the device called `cpu`, `cuda` or `cuda:<number>`. Without a name it is the first CUDA device, or else the
/// processor.
///
/// # Errors
/// When the name is none of these, or libtorch or the machine lacks the device.
pub fn choose(name: Option<&str>) -> Result<Device, LoadError> {
    let cannot = |reason: String| Err(LoadError::Engine(reason));
    let number = match name {
        None => return Ok(Device::cuda_if_available()),
        Some("cpu") => return Ok(Device::Cpu),
        Some("cuda") => Some(0),
        Some(name) => name
            .strip_prefix("cuda:")
            .and_then(|number| number.parse().ok()),
    };
    let Some(number) = number else {
        let name = name.unwrap_or_default();
        return cannot(format!(
            "--device {name} is none of cpu, cuda and cuda:0, cuda:1, ..."
        ));
    };
    if !Cuda::is_available() {
        return cannot(format!(
            "--device cuda:{number} needs a libtorch that is built for CUDA (set LIBTORCH to its folder) and a GPU with \
             its driver"
        ));
    }
    let count = Cuda::device_count();
    if number as i64 >= count {
        return cannot(format!(
            "--device cuda:{number} is not there: this machine has {count} CUDA devices"
        ));
    }
    Ok(Device::Cuda(number))
}

/// Returns whether the processor has instructions for 8-bit integers; without them oneDNN is slower than in float32.
#[cfg(target_arch = "x86_64")]
pub fn has_fast_bytes() -> bool {
    tch::utils::has_mkldnn()
        && (is_x86_feature_detected!("avx512vnni") || is_x86_feature_detected!("avxvnni"))
}

/// oneDNN's operators are in libtorch's builds for x86-64 only.
#[cfg(not(target_arch = "x86_64"))]
pub fn has_fast_bytes() -> bool {
    false
}

/// Describes the device in logs.
pub fn describe(device: Device) -> String {
    match device {
        Device::Cuda(number) => format!("cuda:{number}"),
        _ if tch::utils::has_mkldnn() => "cpu, oneDNN".to_owned(),
        _ => "cpu".to_owned(),
    }
}

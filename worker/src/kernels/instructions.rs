//! The instruction sets that kernels are compiled for.

use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;

use thiserror::Error;

/// The environment variable that selects an instruction set.
pub const VARIABLE: &str = "MUSTER_INSTRUCTIONS";

/// Instruction sets, the slowest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Instructions {
    /// Plain Rust.
    Portable,
    /// AVX2 with fused multiply-add.
    Avx2,
    /// AVX2, and bytes by AVX-VNNI.
    AvxVnni,
    /// AVX-512; bytes by AVX2.
    Avx512,
    /// AVX-512, and bytes by VNNI.
    Avx512Vnni,
    /// AVX-512, and bytes by AMX.
    Amx,
}

/// Why a selected instruction set cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InstructionsError {
    #[error(
        "{0:?} are no instructions Muster knows: set {VARIABLE} to one of {known}, or unset it",
        known = listed(&Instructions::ALL)
    )]
    Unknown(String),
    #[error(
        "this processor does not have {0}: set {VARIABLE} to one of {available}, or unset it",
        available = listed(Instructions::available())
    )]
    Missing(Instructions),
}

impl Instructions {
    pub const ALL: [Self; 6] = [
        Self::Portable,
        Self::Avx2,
        Self::AvxVnni,
        Self::Avx512,
        Self::Avx512Vnni,
        Self::Amx,
    ];

    /// Returns the process's instructions: those that `MUSTER_INSTRUCTIONS` names, or the best that the processor has.
    /// The variable is read once.
    ///
    /// # Errors
    /// When the variable names no instruction set, or one that the processor lacks.
    pub fn chosen() -> Result<Self, InstructionsError> {
        static CHOSEN: OnceLock<Result<Instructions, InstructionsError>> = OnceLock::new();
        let read = || match std::env::var_os(VARIABLE) {
            Some(name) if !name.is_empty() => {
                name.to_string_lossy().parse::<Self>()?.if_available()
            }
            _ => Ok(*Self::available().last().expect("plain Rust runs anywhere")),
        };
        CHOSEN.get_or_init(read).clone()
    }

    /// As [`Self::chosen`], but plain Rust in place of an error, which loading a model reports.
    pub fn best() -> Self {
        Self::chosen().unwrap_or(Self::Portable)
    }

    /// Returns all that this processor has, the best one last.
    pub fn available() -> &'static [Self] {
        static AVAILABLE: OnceLock<Vec<Instructions>> = OnceLock::new();
        AVAILABLE.get_or_init(|| {
            let all = Self::ALL.into_iter();
            all.filter(|instructions| instructions.is_detected())
                .collect()
        })
    }

    /// Returns the instructions if this processor has them.
    ///
    /// # Errors
    /// When this processor lacks the instructions.
    pub fn if_available(self) -> Result<Self, InstructionsError> {
        match Self::available().contains(&self) {
            true => Ok(self),
            false => Err(InstructionsError::Missing(self)),
        }
    }

    /// Returns whether the embedder is faster in bytes than in float32, by at least 1.3 times.
    pub fn has_fast_bytes(self) -> bool {
        match self {
            Self::Portable | Self::Avx512 => false,
            Self::Avx2 => multiplies_bytes_twice_a_cycle(),
            Self::AvxVnni | Self::Avx512Vnni | Self::Amx => true,
        }
    }

    /// Returns whether the embedder's activations are bytes up to
    /// [`SMALL_BYTE`](super::convolve::SMALL_BYTE), whose products are fast without VNNI.
    pub fn prefers_small_bytes(self) -> bool {
        matches!(self, Self::Avx2 | Self::Avx512)
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::AvxVnni => "avx-vnni",
            Self::Avx512 => "avx512",
            Self::Avx512Vnni => "avx512-vnni",
            Self::Amx => "amx",
        }
    }

    /// Panics if this processor lacks the instructions.
    #[inline]
    pub(super) fn check(self) {
        static DETECTED: OnceLock<u32> = OnceLock::new();
        let bit = |instructions: &Self| 1 << *instructions as u32;
        let detected = DETECTED.get_or_init(|| Self::available().iter().map(bit).sum());
        assert!(detected & bit(&self) != 0, "the processor has {self}");
    }

    #[cfg(target_arch = "x86_64")]
    fn is_detected(self) -> bool {
        let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        let avx512 = avx2
            && is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl");
        let vnni = avx512 && is_x86_feature_detected!("avx512vnni");
        match self {
            Self::Portable => true,
            Self::Avx2 => avx2,
            Self::AvxVnni => avx2 && is_x86_feature_detected!("avxvnni"),
            Self::Avx512 => avx512,
            Self::Avx512Vnni => vnni,
            Self::Amx => vnni && super::gemm::amx::is_usable(),
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn is_detected(self) -> bool {
        self == Self::Portable
    }
}

/// Returns whether the processor multiplies bytes of AVX2 twice a cycle. AMD's before Zen 3, and Intel's before Skylake,
/// do it once, which float32 with Winograd's convolutions beats. VAES came with Zen 3 and Ice Lake.
#[cfg(target_arch = "x86_64")]
fn multiplies_bytes_twice_a_cycle() -> bool {
    is_x86_feature_detected!("vaes")
}

#[cfg(not(target_arch = "x86_64"))]
fn multiplies_bytes_twice_a_cycle() -> bool {
    false
}

impl fmt::Display for Instructions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

impl FromStr for Instructions {
    type Err = InstructionsError;

    /// Parses the names of all instructions, also of those that the processor lacks.
    fn from_str(name: &str) -> Result<Self, InstructionsError> {
        let named = |instructions: &Self| instructions.name() == name;
        let found = Self::ALL.into_iter().find(named);
        found.ok_or_else(|| InstructionsError::Unknown(name.to_owned()))
    }
}

fn listed(instructions: &[Instructions]) -> String {
    instructions
        .iter()
        .map(|instructions| instructions.name())
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for instructions in Instructions::ALL {
            assert_eq!(instructions.to_string().parse(), Ok(instructions));
        }
    }

    #[test]
    fn an_unknown_name_is_an_error_that_lists_the_known_ones() {
        let error = "sse9"
            .parse::<Instructions>()
            .expect_err("no such instructions");
        let expected = "\"sse9\" are no instructions Muster knows: set MUSTER_INSTRUCTIONS to one of portable, avx2, \
                        avx-vnni, avx512, avx512-vnni, amx, or unset it";
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn instructions_that_the_processor_lacks_are_an_error() {
        for instructions in Instructions::ALL {
            let has = Instructions::available().contains(&instructions);
            assert_eq!(instructions.if_available().is_ok(), has);
        }
        let error = InstructionsError::Missing(Instructions::Amx).to_string();
        assert!(error.starts_with(
            "this processor does not have amx: set MUSTER_INSTRUCTIONS to one of portable"
        ));
    }
}

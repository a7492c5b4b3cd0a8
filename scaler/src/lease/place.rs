//! A name for a listening socket that no other machine, and no other network namespace of this one, gives to its own.

use std::net::SocketAddr;

/// Absent where the operating system does not tell enough (it is Linux that does), or the address is nobody's own.
///
/// A listening address and port belong to one process of a network namespace at a time, the namespace's number to one of
/// those on a kernel, and the boot id to one run of one kernel.
#[must_use]
pub fn of(listener: SocketAddr) -> Option<String> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let namespace = std::fs::read_link("/proc/self/ns/net").ok()?;
    let (boot, namespace) = (boot.trim(), namespace.to_str()?);
    Some(format!("{boot} {namespace} {listener}"))
}

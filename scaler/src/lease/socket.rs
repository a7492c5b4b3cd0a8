//! Identifies a listening socket among those of all machines and network namespaces.

use std::net::SocketAddr;

/// Returns an identity that no other socket has while this one is open. Returns `None` outside Linux.
///
/// A listening address and port belong to one process of a network namespace at a time, the namespace's number to one
/// namespace of a kernel, and the boot id to one run of one kernel.
#[must_use]
pub fn identity(listener: SocketAddr) -> Option<String> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let namespace = std::fs::read_link("/proc/self/ns/net").ok()?;
    let (boot, namespace) = (boot.trim(), namespace.to_str()?);
    Some(format!("{boot} {namespace} {listener}"))
}

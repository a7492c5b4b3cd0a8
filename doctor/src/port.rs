//! Who listens on a port of this machine.

use std::path::Path;

/// The state of a listening socket in `/proc/net/tcp`.
const LISTENING: &str = "0A";

/// Returns the program that listens on a port, with its process id, as far as this user may know. `None`: no program does.
pub(crate) fn listener(port: u16) -> Option<String> {
    let sockets: Vec<_> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|file| std::fs::read_to_string(file).ok())
        .flat_map(|text| sockets_on(&text, port))
        .collect();
    if sockets.is_empty() {
        return None;
    }
    let owner = std::fs::read_dir("/proc")
        .ok()?
        .flatten()
        .find_map(|entry| {
            let process = entry.file_name().to_str()?.parse::<u32>().ok()?;
            let owns = std::fs::read_dir(entry.path().join("fd"))
                .ok()?
                .flatten()
                .any(|file| {
                    let target = std::fs::read_link(file.path()).unwrap_or_default();
                    sockets
                        .iter()
                        .any(|inode| target == Path::new(&format!("socket:[{inode}]")))
                });
            let name = std::fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
            owns.then(|| format!("{} (process {process})", name.trim()))
        });
    Some(owner.unwrap_or_else(|| "a program of another user".to_owned()))
}

/// Returns the inodes of the sockets that listen on a port.
fn sockets_on(table: &str, port: u16) -> Vec<String> {
    let inode = |line: &str| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let local = fields.get(1)?.rsplit_once(':')?.1;
        let is_it = u16::from_str_radix(local, 16).ok()? == port && *fields.get(3)? == LISTENING;
        is_it.then(|| fields.get(9).map(ToString::to_string))?
    };
    table.lines().skip(1).filter_map(inode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_is_named_with_its_process() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let found = listener(port).expect("this test listens");
        assert!(
            found.contains(&format!("(process {})", std::process::id())),
            "{found}"
        );
        drop(socket);
        assert_eq!(listener(port), None);
    }
}

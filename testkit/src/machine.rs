//! The machine that tests and benches run on.

use std::net::{SocketAddr, TcpListener};

/// Returns addresses of the loopback interface that are not in use, all different.
pub fn free_addresses<const COUNT: usize>() -> [SocketAddr; COUNT] {
    let listeners = [(); COUNT].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap())
}

/// Returns the processor time that all threads of a process have used, in seconds.
pub fn cpu_seconds(process: u32) -> f64 {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).unwrap();
    // Nanoseconds, which `/proc/PID/stat` has in hundredths of a second only. A thread may end meanwhile.
    let times = threads
        .filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("schedstat")).ok());
    let nanoseconds: f64 = times
        .map(|times| times.split(' ').next().unwrap().parse::<f64>().unwrap())
        .sum();
    nanoseconds / 1e9
}

/// Returns the name of the processor, for reports.
pub fn processor() -> String {
    let information = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let mut lines = information.lines();
    let name = lines.find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    name.map_or_else(|| "unknown".to_owned(), |(_, name)| name.to_owned())
}

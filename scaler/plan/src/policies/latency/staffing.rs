//! How many workers keep up with a steady stream of requests: Erlang's C formula for the share that waits (A. K. Erlang,
//! 1917), and the exponential tail of the wait in an M/M/n queue.

/// The share of requests that may wait longer than the target leaves them.
const LATE: f64 = 0.10;

/// The assumed squared coefficient of variation of service times, by which waits are shorter than with exponential ones
/// (Allen and Cunneen's approximation, 1978): the standard deviation is half of the mean.
const SCATTER: f64 = 0.25;

/// Returns the fewest workers with which at most one in ten requests waits longer than `target - service`.
///
/// `offered` is the worker time that arrives in a second (requests a second times `service`). `service` and `target` are in
/// seconds. At most `most` are considered.
#[must_use]
pub fn workers(offered: f64, service: f64, target: f64, most: u32) -> u64 {
    if offered <= 0.0 || service <= 0.0 {
        return 0;
    }
    let slack = (target - service).max(0.0) / service;
    // Erlang's B, the share that n workers without a queue turn away, follows from that for n - 1.
    let mut turned_away = 1.0;
    for workers in 1..=u64::from(most) {
        let count = workers as f64;
        turned_away = offered * turned_away / (count + offered * turned_away);
        if count <= offered {
            continue;
        }
        let waits = count * turned_away / (count - offered * (1.0 - turned_away));
        if waits * (-2.0 / (1.0 + SCATTER) * (count - offered) * slack).exp() <= LATE {
            return workers;
        }
    }
    most.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_slack_it_is_erlangs_c() {
        // 10 erlangs need 16 agents for at most 10 % waiting (C(15) = 0.102, C(16) = 0.060), 1 erlang 3 (C(3) = 0.091).
        assert_eq!(workers(10.0, 1.0, 1.0, 20_000), 16);
        assert_eq!(workers(1.0, 1.0, 1.0, 20_000), 3);
    }

    #[test]
    fn slack_saves_workers_but_the_load_is_always_carried() {
        assert_eq!(workers(10.0, 0.1, 2.0, 20_000), 11);
        assert_eq!(workers(9.5, 0.1, 2.0, 20_000), 10);
        assert_eq!(workers(0.01, 0.1, 2.0, 20_000), 1);
        assert_eq!(workers(0.0, 0.1, 2.0, 20_000), 0);
        assert_eq!(workers(8_000.0, 0.1, 2.0, 20_000), 8_001);
    }
}

//! How much work a number of workers does by a deadline. A fluid model: work is worker time, and can be divided freely.

/// Rounding error of work, in seconds.
const ROUNDING: f64 = 1e-9;

/// Ready workers, and workers that will be.
#[derive(Debug, Clone, PartialEq)]
pub struct Capacity {
    ready: u32,
    /// In how many seconds each of the others is ready, ascending.
    booting: Vec<f64>,
}

impl Capacity {
    #[must_use]
    pub fn new(ready: u32, mut booting: Vec<f64>) -> Self {
        booting.sort_by(f64::total_cmp);
        Self { ready, booting }
    }

    #[must_use]
    pub fn ready(&self) -> u32 {
        self.ready
    }

    /// Ready or not.
    #[must_use]
    pub fn workers(&self) -> u32 {
        self.ready + u32::try_from(self.booting.len()).unwrap_or(u32::MAX)
    }

    /// Returns the worker time, in seconds, that all have together by `deadline`.
    #[must_use]
    pub fn work_by(&self, deadline: f64) -> f64 {
        let later = self.booting.iter().map(|ready| (deadline - ready).max(0.0));
        f64::from(self.ready) * deadline + later.sum::<f64>()
    }

    /// Returns the fewest of them that do `work` by `deadline`; `None` when all together do not. Booting workers count
    /// first: only ready ones can be withdrawn.
    #[must_use]
    pub fn fewest(&self, work: f64, deadline: f64) -> Option<u32> {
        let mut left = work;
        for (ready, count) in self.booting.iter().zip(1..) {
            left -= (deadline - ready).max(0.0);
            if left <= ROUNDING {
                return Some(count);
            }
        }
        let booting = self.workers() - self.ready;
        let of_ready = ((left - ROUNDING).max(0.0) / deadline.max(0.0))
            .ceil()
            .max(1.0);
        (of_ready <= f64::from(self.ready)).then(|| booting + of_ready as u32)
    }

    /// Returns in how many seconds the first `workers` do `work`. Workers that do not exist yet are ready in `boot`
    /// seconds. `None` without workers.
    #[must_use]
    pub fn completion(&self, work: f64, workers: u32, boot: f64) -> Option<f64> {
        let mut rate = f64::from(self.ready.min(workers));
        let booting = workers.saturating_sub(self.ready) as usize;
        let started = booting.saturating_sub(self.booting.len());
        let joining = self.booting.iter().copied().take(booting);
        let (mut left, mut time) = (work, 0.0);
        for joins in joining.chain(std::iter::repeat_n(boot, started)) {
            let done = rate * (joins - time).max(0.0);
            if done >= left && rate > 0.0 {
                break;
            }
            left -= done;
            time = joins.max(time);
            rate += 1.0;
        }
        (rate > 0.0).then(|| time + left / rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_that_boot_count_from_when_they_are_ready() {
        let capacity = Capacity::new(2, vec![3.0, 1.0]);
        assert_eq!(capacity.work_by(2.0), 5.0);
        assert_eq!(capacity.work_by(4.0), 12.0);
        assert_eq!(capacity.fewest(1.0, 2.0), Some(1));
        assert_eq!(capacity.fewest(3.0, 2.0), Some(3));
        assert_eq!(capacity.fewest(4.5, 2.0), Some(4));
        assert_eq!(capacity.fewest(5.1, 2.0), None);
    }

    #[test]
    fn completion_agrees_with_the_work_that_gets_done() {
        let capacity = Capacity::new(1, vec![2.0, 5.0]);
        assert_eq!(capacity.completion(1.5, 3, 9.0), Some(1.5));
        assert_eq!(capacity.completion(4.0, 3, 9.0), Some(3.0));
        assert_eq!(capacity.completion(8.0, 3, 9.0), Some(5.0));
        assert_eq!(capacity.completion(11.0, 3, 9.0), Some(6.0));
        // A fourth one is started now.
        assert_eq!(capacity.completion(24.0, 4, 9.0), Some(10.0));
        assert_eq!(Capacity::new(0, vec![]).completion(1.0, 0, 9.0), None);
        assert_eq!(Capacity::new(0, vec![]).completion(1.0, 1, 9.0), Some(10.0));
    }

    proptest::proptest! {
        #[test]
        fn the_fewest_are_enough_and_without_one_that_is_up_they_are_not(
            ready in 0_u32..5,
            booting in proptest::collection::vec(0.0_f64..10.0, 0..5),
            work in 0.1_f64..40.0,
            deadline in 0.1_f64..12.0,
        ) {
            let late = |ready| {
                let capacity = Capacity::new(ready, booting.clone());
                let completion = capacity.completion(work, capacity.workers(), f64::MAX);
                completion.is_none_or(|seconds| seconds > deadline + 1e-9)
            };
            let capacity = Capacity::new(ready, booting.clone());
            match capacity.fewest(work, deadline).map(|all| all.checked_sub(booting.len() as u32)) {
                Some(Some(up)) => {
                    proptest::prop_assert!(!late(up));
                    proptest::prop_assert!(up == 0 || (up == 1 && work <= capacity.work_by(deadline)) || late(up - 1));
                }
                Some(None) => proptest::prop_assert!(!late(0)),
                None => proptest::prop_assert!(late(ready)),
            }
        }
    }
}

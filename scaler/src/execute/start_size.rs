/// How many instances to start in one call. EC2 starts all of them or none, and does not say which one it refuses. So
/// each refusal halves the size of the next call, down to one.
#[derive(Debug, Default)]
pub(super) struct StartSize {
    most: Option<u32>,
}

impl StartSize {
    pub fn within(&self, wanted: u32) -> u32 {
        wanted.min(self.most.unwrap_or(u32::MAX))
    }

    pub fn succeeded(&mut self) {
        self.most = None;
    }

    /// Halves the size after EC2 refused a call for `count` instances. Returns whether the call was for a single
    /// instance, which therefore is the one that fails.
    pub fn refused(&mut self, count: usize) -> bool {
        if count <= 1 {
            self.most = None;
            return true;
        }
        let half = u32::try_from(count / 2).unwrap_or(u32::MAX);
        self.most = Some(self.within(half));
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts the calls until all startable instances are started. `false` stands for an instance that EC2 refuses.
    fn calls(mut pool: Vec<bool>) -> usize {
        let (mut size, mut calls) = (StartSize::default(), 0);
        while !pool.is_empty() {
            calls += 1;
            let count = size.within(pool.len() as u32) as usize;
            if !pool[..count].contains(&false) {
                size.succeeded();
                pool.drain(..count);
            } else if size.refused(count) {
                pool.remove(0);
            }
        }
        calls
    }

    #[test]
    fn an_instance_that_cannot_be_started_does_not_block_the_others() {
        assert_eq!(calls(vec![true; 8]), 1);
        let first = [&[false][..], &[true; 7]].concat();
        assert_eq!(calls(first), 5);
        let last = [&[true; 7][..], &[false]].concat();
        assert!(calls(last) <= 8);
    }
}

/// The Redis keys of a deployment's demand. The prefix is in braces, so that a cluster keeps them all on one node.
#[derive(Debug, Clone)]
pub struct RedisKeys {
    base: String,
}

impl RedisKeys {
    #[must_use]
    pub fn new(prefix: &str) -> Self {
        Self {
            base: format!("muster:{{{prefix}}}:demand"),
        }
    }

    /// Returns the key that holds the demand of one replica.
    #[must_use]
    pub fn replica(&self, id: &str) -> String {
        format!("{}:{id}", self.base)
    }

    /// Returns the key that holds the sorted set of the replicas' ids.
    #[must_use]
    pub fn replicas(&self) -> String {
        format!("{}-replicas", self.base)
    }

    /// Returns the channel on which every write is published.
    #[must_use]
    pub fn channel(&self) -> String {
        format!("{}-written", self.base)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deployments_do_not_share_names() {
        let keys = RedisKeys::new("acme");
        assert_eq!(keys.replica("7f"), "muster:{acme}:demand:7f");
        assert_eq!(keys.replicas(), "muster:{acme}:demand-replicas");
        assert_eq!(keys.channel(), "muster:{acme}:demand-written");
        assert_ne!(keys.channel(), RedisKeys::new("acme2").channel());
    }
}

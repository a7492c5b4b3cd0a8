/// What a deployment's demand is called in Redis. This is the only place that knows the names.
///
/// The prefix stands in braces, so that a cluster keeps all keys of a deployment on one of its nodes.
#[derive(Debug, Clone)]
pub struct Keys {
    base: String,
}

impl Keys {
    #[must_use]
    pub fn new(prefix: &str) -> Self {
        Self {
            base: format!("muster:{{{prefix}}}:demand"),
        }
    }

    /// The demand of one replica.
    #[must_use]
    pub fn replica(&self, id: &str) -> String {
        format!("{}:{id}", self.base)
    }

    /// The sorted set of the replicas' ids.
    #[must_use]
    pub fn replicas(&self) -> String {
        format!("{}-replicas", self.base)
    }

    /// The channel on which every write is announced.
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
        let keys = Keys::new("acme");
        assert_eq!(keys.replica("7f"), "muster:{acme}:demand:7f");
        assert_eq!(keys.replicas(), "muster:{acme}:demand-replicas");
        assert_eq!(keys.channel(), "muster:{acme}:demand-written");
        assert_ne!(keys.channel(), Keys::new("acme2").channel());
    }
}

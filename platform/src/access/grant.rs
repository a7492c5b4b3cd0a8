use super::*;

/// Time between two checks of the key of an open stream.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// The key of a call that may last, with the roles that it had when the call began.
#[derive(Debug, Clone)]
pub struct Grant {
    checks: Arc<KeyChecks>,
    key: Token,
    roles: Vec<Role>,
}

impl Authenticator {
    /// Returns the grant of a call with these headers; `None` without a valid key. Take it before the
    /// [`check`](Self::check), which refuses a key that is removed in between.
    #[must_use]
    pub fn grant(&self, headers: &HeaderMap) -> Option<Grant> {
        let checks = Arc::clone(self.0.as_ref()?);
        let key = Token::parse(presented_key(headers)?).ok()?;
        let keys = checks.keys.get();
        let roles = keys.find(key.expose())?.1.roles.clone();
        Some(Grant { checks, key, roles })
    }
}

impl Grant {
    /// Waits until the key is removed or loses a role. Returns why a call with it is denied from now on.
    pub async fn revoked(self) -> Denied {
        loop {
            tokio::time::sleep(CHECK_INTERVAL).await;
            let keys = self.checks.keys.get();
            let key = self.key.expose();
            let mut checked = self.roles.iter().map(|role| keys.authorize(key, *role));
            if let Some(denied) = checked.find_map(Result::err) {
                tracing::info!(%denied, "an open stream ends");
                return denied;
            }
        }
    }
}

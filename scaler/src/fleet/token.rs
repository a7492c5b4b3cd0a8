//! The fleet's token: the secret by which workers prove that they belong to the fleet.
//!
//! All workers share it. They get it in their user data, which an instance keeps for life: one that was stopped presents
//! the same token years later, to another scaler. So the token outlives the scaler that made it. It comes from a setting,
//! or from an object in the scaler's bucket. The first scaler of a prefix makes that object with a conditional write.

use std::time::Duration;

use platform::fleet::UserData;
use platform::objects::{Condition, ObjectError, Objects, Swap};
use platform::shutdown::CancellationToken;
use platform::token::Token;
use tokio::sync::watch;

/// Stands for the token in a user data template.
pub const PLACEHOLDER: &str = "@MUSTER_FLEET_TOKEN@";
const KEY: &str = "fleet-token";
const RETRY: Duration = Duration::from_millis(500);
/// How long a worker that attends right after the scaler's start waits for the token.
const KNOWN_DEADLINE: Duration = Duration::from_secs(2);

/// The fleet's token, once it is known. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct FleetToken {
    token: watch::Receiver<Option<Token>>,
}

impl FleetToken {
    /// Takes the token from a setting.
    #[must_use]
    pub fn given(token: Token) -> Self {
        let (_, token) = watch::channel(Some(token));
        Self { token }
    }

    /// Reads the token in the bucket, or makes it, in the background until that succeeds.
    #[must_use]
    pub fn kept_in(bucket: Objects, shutdown: CancellationToken) -> Self {
        let (known, token) = watch::channel(None);
        tokio::spawn(shutdown.run_until_cancelled_owned(async move {
            let mut last_error = String::new();
            loop {
                match read_or_make(&bucket).await {
                    Ok(token) => {
                        known.send_replace(Some(token));
                        return;
                    }
                    Err(error) if error == last_error => {}
                    Err(error) => {
                        tracing::warn!(
                            bucket = bucket.bucket(),
                            key = KEY,
                            error,
                            "the fleet's token is not known yet, so no worker may attend"
                        );
                        last_error = error;
                    }
                }
                tokio::time::sleep(RETRY).await;
            }
        }));
        Self { token }
    }

    #[must_use]
    pub fn get(&self) -> Option<Token> {
        self.token.borrow().clone()
    }

    /// Returns the token, after a bounded wait for it.
    pub async fn known(&self) -> Option<Token> {
        let mut token = self.token.clone();
        let waiting = tokio::time::timeout(KNOWN_DEADLINE, token.wait_for(Option::is_some));
        drop(waiting.await);
        self.get()
    }

    /// Puts the token into a user data template. Returns `None` while the template needs a token that is not known.
    #[must_use]
    pub fn fill_in(&self, template: &UserData) -> Option<UserData> {
        if !template.0.contains(PLACEHOLDER) {
            return Some(template.clone());
        }
        let token = self.get()?;
        Some(UserData(template.0.replace(PLACEHOLDER, token.expose())))
    }
}

async fn read_or_make(bucket: &Objects) -> Result<Token, String> {
    let found = match bucket.get_tagged(KEY).await {
        Err(ObjectError::NoBucket) => {
            bucket.ensure().await.map_err(|error| error.to_string())?;
            None
        }
        found => found.map_err(|error| error.to_string())?,
    };
    if let Some(object) = found {
        let text = String::from_utf8_lossy(&object.body);
        return Token::parse(&text)
            .map_err(|error| format!("{error}: delete the object, then a new token is made"));
    }
    let token = Token::random();
    let body = token.expose().to_owned().into();
    match bucket.swap(KEY, body, &Condition::Absent).await {
        Ok(Swap::Stored(_)) => Ok(token),
        Ok(Swap::Refused) => Err("another scaler has just made the token".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_data_holds_the_token_and_does_not_show_it() {
        let template = UserData(format!("A=1\nMUSTER_FLEET_TOKEN={PLACEHOLDER}\n"));
        let token = FleetToken::given(Token::parse("secret").unwrap());
        let filled = token.fill_in(&template).unwrap();
        assert_eq!(filled.0, "A=1\nMUSTER_FLEET_TOKEN=secret\n");
        assert!(!format!("{filled:?} {token:?}").contains("secret"));
        let (_, unknown) = watch::channel(None);
        let unknown = FleetToken { token: unknown };
        assert_eq!(unknown.fill_in(&template), None);
        assert!(unknown.fill_in(&UserData("A=1".to_owned())).is_some());
    }
}

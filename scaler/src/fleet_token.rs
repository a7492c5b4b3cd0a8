//! The secret that the fleet's workers prove themselves with when they attend.
//!
//! All workers have the same one. It is in the user data of the instances that the scaler launches, and a launch is all
//! that an instance ever learns: one that was stopped presents the same token years later, to another scaler. So a token
//! outlives the scaler that made it. It is given by a setting, or an object in the scaler's bucket, which the first scaler
//! of a prefix makes, under the condition that there is none.

use std::time::Duration;

use platform::fleet::UserData;
use platform::objects::{Condition, ObjectError, Objects, Swap};
use platform::shutdown::CancellationToken;
use platform::token::Token;
use tokio::sync::watch;

/// What stands for the token in the user data.
pub const PLACEHOLDER: &str = "@MUSTER_FLEET_TOKEN@";
const KEY: &str = "fleet-token";
const RETRY: Duration = Duration::from_millis(500);
/// How long a worker that comes right after the start waits for the token to be read.
const FIRST_ANSWER_DEADLINE: Duration = Duration::from_secs(2);

/// The token, once it is known. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct FleetToken {
    token: watch::Receiver<Option<Token>>,
}

impl FleetToken {
    /// The token of the setting.
    #[must_use]
    pub fn given(token: Token) -> Self {
        let (_, token) = watch::channel(Some(token));
        Self { token }
    }

    /// The token in the bucket. It is read, or made, in the background, for as long as that takes.
    #[must_use]
    pub fn kept_in(bucket: Objects, shutdown: CancellationToken) -> Self {
        let (known, token) = watch::channel(None);
        tokio::spawn(shutdown.run_until_cancelled_owned(async move {
            let mut trouble = String::new();
            loop {
                match find_or_make(&bucket).await {
                    Ok(token) => {
                        known.send_replace(Some(token));
                        return;
                    }
                    Err(error) if error == trouble => {}
                    Err(error) => {
                        tracing::warn!(
                            bucket = bucket.bucket(),
                            key = KEY,
                            error,
                            "there is no fleet token yet, so no worker may attend"
                        );
                        trouble = error;
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

    /// The token; the wait for it is bounded.
    pub async fn settled(&self) -> Option<Token> {
        let mut token = self.token.clone();
        let waiting = tokio::time::timeout(FIRST_ANSWER_DEADLINE, token.wait_for(Option::is_some));
        // Late or gone, the answer is what is known by then.
        drop(waiting.await);
        self.get()
    }

    /// The user data with the token in it; absent while it has to hold the token and that is not known.
    #[must_use]
    pub fn fill_in(&self, template: &UserData) -> Option<UserData> {
        if !template.0.contains(PLACEHOLDER) {
            return Some(template.clone());
        }
        let token = self.get()?;
        Some(UserData(template.0.replace(PLACEHOLDER, token.expose())))
    }
}

async fn find_or_make(bucket: &Objects) -> Result<Token, String> {
    let found = match bucket.get_tagged(KEY).await {
        Err(ObjectError::NoBucket) => {
            bucket.ensure().await.map_err(|error| error.to_string())?;
            None
        }
        found => found.map_err(|error| error.to_string())?,
    };
    if let Some(object) = found {
        let text = String::from_utf8_lossy(&object.body);
        return Token::parse(&text).map_err(|error| format!("{error}: delete the object"));
    }
    let token = Token::random();
    let body = token.expose().to_owned().into();
    match bucket.swap(KEY, body, &Condition::Absent).await {
        Ok(Swap::Stored(_)) => Ok(token),
        Ok(Swap::Refused) => Err("another scaler has just made one".to_owned()),
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

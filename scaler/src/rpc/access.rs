//! Authorization of operators.

use std::path::PathBuf;

use platform::access::{Authenticator, Role};
use platform::token::Token;
use tonic::Status;
use tonic::metadata::MetadataMap;

/// The environment variable with the token, for when no file is given.
pub const TOKEN_VARIABLE: &str = "MUSTER_SCALER_TOKEN";

/// Where the operators' token comes from.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Access")]
pub struct TokenArgs {
    /// File with the token that permits to change bounds, pause and resume, like an API key with the role operate
    /// [default: the environment variable MUSTER_SCALER_TOKEN]
    #[arg(long, env = "MUSTER_SCALER_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,
}

impl TokenArgs {
    /// Returns the token from the file, or from the environment.
    ///
    /// # Errors
    /// When the file cannot be read, or the token is malformed.
    pub fn token(&self) -> anyhow::Result<Option<Token>> {
        Token::read(self.token_file.as_deref(), TOKEN_VARIABLE)
    }
}

/// Checks whether a caller may read or change the scaler.
#[derive(Debug)]
pub struct Operators {
    pub access: Authenticator,
    /// Permits everything, like a key with the role `operate`.
    pub token: Option<Token>,
}

impl Operators {
    /// Checks that a request may read status and decisions. Without API keys every caller may.
    ///
    /// # Errors
    /// UNAUTHENTICATED, PERMISSION_DENIED or RESOURCE_EXHAUSTED.
    pub fn may_read(&self, metadata: &MetadataMap) -> Result<(), Status> {
        if self.has_token(metadata) {
            return Ok(());
        }
        Ok(self.access.check(metadata.as_ref(), Role::Operate)?)
    }

    /// Checks that a request may change bounds, pause or resume.
    ///
    /// # Errors
    /// PERMISSION_DENIED when there are neither keys nor a token; otherwise like [`may_read`](Self::may_read).
    pub fn may_change(&self, metadata: &MetadataMap) -> Result<(), Status> {
        match &self.token {
            _ if self.access.needs_key() => self.may_read(metadata),
            Some(token) => token.check(metadata),
            None => Err(Status::permission_denied(format!(
                "this scaler permits no changes: start it with --api-keys FILE, --token-file FILE, or a token in {TOKEN_VARIABLE}"
            ))),
        }
    }

    fn has_token(&self, metadata: &MetadataMap) -> bool {
        let token = self.token.as_ref();
        token.is_some_and(|token| token.check(metadata).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use platform::access::Keys;
    use tonic::Code;

    use super::*;

    fn by(token: &str) -> MetadataMap {
        let mut metadata = MetadataMap::new();
        metadata.insert("authorization", format!("Bearer {token}").parse().unwrap());
        metadata
    }

    fn code(checked: Result<(), Status>) -> Code {
        checked.map_or_else(|status| status.code(), |()| Code::Ok)
    }

    #[test]
    fn without_keys_and_token_changes_are_refused_and_the_message_says_how_to_permit_them() {
        let operators = Operators {
            access: Authenticator::open_to_all(),
            token: None,
        };
        for metadata in [MetadataMap::new(), by("")] {
            let refused = operators.may_change(&metadata).unwrap_err();
            assert_eq!(refused.code(), Code::PermissionDenied);
            assert!(refused.message().contains("--token-file"), "{refused}");
            assert!(refused.message().contains(TOKEN_VARIABLE), "{refused}");
            assert!(operators.may_read(&metadata).is_ok());
        }
    }

    #[test]
    fn keys_are_needed_to_read_and_to_change_and_the_token_permits_both() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut keys = Keys::default();
        let operator = keys.add("operator", &[Role::Operate], None).unwrap();
        let shop = keys.add("shop", &[Role::Recognize], None).unwrap();
        keys.write(file.path()).unwrap();
        let operators = Operators {
            access: Authenticator::by_keys(file.path()).unwrap(),
            token: Some(Token::parse("secret").unwrap()),
        };
        for (metadata, expected) in [
            (by(operator.expose()), Code::Ok),
            (by("secret"), Code::Ok),
            (by(shop.expose()), Code::PermissionDenied),
            (by("wrong"), Code::Unauthenticated),
            (MetadataMap::new(), Code::Unauthenticated),
        ] {
            assert_eq!(code(operators.may_read(&metadata)), expected);
            assert_eq!(code(operators.may_change(&metadata)), expected);
        }
    }
}

//! Who may change how the scaler decides.

use std::path::PathBuf;

use platform::token::Token;
use tonic::Status;
use tonic::metadata::MetadataMap;

/// The environment variable that holds the token where no file is given.
pub const TOKEN_VARIABLE: &str = "MUSTER_SCALER_TOKEN";

/// Where the token is.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct TokenArgs {
    /// File with the token that allows to change bounds, to pause and to resume; absent: the environment variable
    /// MUSTER_SCALER_TOKEN
    #[arg(long, env = "MUSTER_SCALER_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,
}

impl TokenArgs {
    /// The token from the file, or else from the environment.
    ///
    /// # Errors
    /// When the file cannot be read, or the token is not one.
    pub fn token(&self) -> anyhow::Result<Option<Token>> {
        Token::read(self.token_file.as_deref(), TOKEN_VARIABLE)
    }
}

/// Whether a request may change how the scaler decides.
///
/// # Errors
/// PERMISSION_DENIED when no token is configured, UNAUTHENTICATED when the request does not carry it.
pub fn authorize(token: Option<&Token>, metadata: &MetadataMap) -> Result<(), Status> {
    let Some(token) = token else {
        return Err(Status::permission_denied(format!(
            "this scaler takes no orders: start it with --token-file FILE, or with a token in {TOKEN_VARIABLE}"
        )));
    };
    token.check(metadata)
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    #[test]
    fn without_a_token_nothing_is_let_through_and_the_message_says_how_to_have_one() {
        let mut metadata = MetadataMap::new();
        let refused = authorize(None, &metadata).unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied);
        assert!(refused.message().contains("--token-file"), "{refused}");
        assert!(refused.message().contains(TOKEN_VARIABLE), "{refused}");
        metadata.insert("authorization", "Bearer ".parse().unwrap());
        let refused = authorize(None, &metadata).unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied);
    }
}

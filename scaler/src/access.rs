//! Who may change how the scaler decides.

use std::fmt;
use std::path::PathBuf;

use anyhow::Context;
use subtle::ConstantTimeEq;
use tonic::Status;
use tonic::metadata::{Ascii, MetadataMap, MetadataValue};

/// The environment variable that holds the token where no file is given. It is not an option of the command line: other
/// users of the machine could read it there.
pub const TOKEN_VARIABLE: &str = "MUSTER_SCALER_TOKEN";

/// Where the token is.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct TokenArgs {
    /// File with the token that allows to change bounds, to pause and to resume; absent: the environment variable
    /// MUSTER_SCALER_TOKEN
    #[arg(long, env = "MUSTER_SCALER_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,
}

/// A secret. It is neither logged nor printed.
#[derive(Clone)]
pub struct Token(String);

impl TokenArgs {
    /// The token from the file, or else from the environment.
    ///
    /// # Errors
    /// When the file cannot be read, or the token is not one.
    pub fn token(&self) -> anyhow::Result<Option<Token>> {
        if let Some(path) = &self.token_file {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("cannot read the token in {}", path.display()))?;
            let token = Token::parse(&text);
            return token
                .with_context(|| format!("in {}", path.display()))
                .map(Some);
        }
        let variable = std::env::var(TOKEN_VARIABLE).ok();
        let token = variable.filter(|text| !text.is_empty());
        token
            .map(|text| Token::parse(&text).with_context(|| format!("in {TOKEN_VARIABLE}")))
            .transpose()
    }
}

impl Token {
    /// # Errors
    /// When the text is empty or has other characters than visible ASCII ones; white space around it is ignored.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let text = text.trim();
        anyhow::ensure!(!text.is_empty(), "the token is empty");
        anyhow::ensure!(
            text.bytes().all(|byte| byte.is_ascii_graphic()),
            "the token has characters that are not visible ASCII ones"
        );
        Ok(Self(text.to_owned()))
    }

    /// The value of the metadata `authorization`.
    #[must_use]
    pub fn bearer(&self) -> MetadataValue<Ascii> {
        let mut value: MetadataValue<Ascii> = format!("Bearer {}", self.0)
            .parse()
            .expect("visible ASCII is valid metadata");
        value.set_sensitive(true);
        value
    }

    fn is(&self, other: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(other).into()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
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
    let authorization = metadata.get("authorization").map(MetadataValue::as_bytes);
    let Some((scheme, presented)) = authorization.and_then(|it| it.split_at_checked(7)) else {
        return Err(Status::unauthenticated(
            "the metadata `authorization: Bearer TOKEN` is missing",
        ));
    };
    if !scheme.eq_ignore_ascii_case(b"bearer ") || !token.is(presented) {
        return Err(Status::unauthenticated("the token is wrong"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    fn code(token: Option<&str>, authorization: Option<&str>) -> Option<Code> {
        let token = token.map(|text| Token::parse(text).unwrap());
        let mut metadata = MetadataMap::new();
        if let Some(authorization) = authorization {
            metadata.insert("authorization", authorization.parse().unwrap());
        }
        authorize(token.as_ref(), &metadata)
            .err()
            .map(|status| status.code())
    }

    #[test]
    fn only_the_token_itself_is_let_through() {
        let token = Some("secret");
        for right in ["Bearer secret", "bearer secret"] {
            assert_eq!(code(token, Some(right)), None, "{right}");
        }
        for wrong in [
            "Bearer Secret",
            "Bearer secret1",
            "Bearer secre",
            "Bearer ",
            "Bearer",
            "Basic secret",
            "secret",
            "",
        ] {
            let refused = code(token, Some(wrong));
            assert_eq!(refused, Some(Code::Unauthenticated), "{wrong:?}");
        }
        assert_eq!(code(token, None), Some(Code::Unauthenticated));
    }

    #[test]
    fn without_a_token_nothing_is_let_through_and_the_message_says_how_to_have_one() {
        assert_eq!(code(None, None), Some(Code::PermissionDenied));
        assert_eq!(code(None, Some("Bearer ")), Some(Code::PermissionDenied));
        let refused = authorize(None, &MetadataMap::new()).unwrap_err();
        assert!(refused.message().contains("--token-file"), "{refused}");
        assert!(refused.message().contains(TOKEN_VARIABLE), "{refused}");
    }

    #[test]
    fn a_token_is_visible_ascii_and_is_not_shown() {
        for wrong in ["", " \n", "two words", "schlüssel", "a\u{7}"] {
            assert!(Token::parse(wrong).is_err(), "{wrong:?}");
        }
        let token = Token::parse(" secret\n").unwrap();
        assert!(token.is(b"secret"));
        let shown = format!("{token:?} {:?}", token.bearer());
        assert!(!shown.contains("secret"), "{shown}");
    }

    #[test]
    fn a_token_is_read_from_its_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "secret\n").unwrap();
        let token = |path| {
            let token_file = Some(path);
            TokenArgs { token_file }.token()
        };
        assert!(
            token(file.path().to_owned())
                .unwrap()
                .unwrap()
                .is(b"secret")
        );
        std::fs::write(file.path(), "\n").unwrap();
        assert!(token(file.path().to_owned()).is_err());
        assert!(token("/nowhere".into()).is_err());
    }
}

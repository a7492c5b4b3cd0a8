//! Secrets by which callers authenticate: the metadata `authorization: Bearer TOKEN`.

use std::fmt;
use std::path::Path;

use anyhow::Context;
use subtle::ConstantTimeEq;
use tonic::Status;
use tonic::metadata::{Ascii, MetadataMap, MetadataValue};

/// The environment variable that holds the fleet's token if no file is given.
pub const FLEET_TOKEN_VARIABLE: &str = "MUSTER_FLEET_TOKEN";

/// A secret of visible ASCII characters. `Debug` hides it.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    /// Parses a token. White space around it is ignored.
    ///
    /// # Errors
    /// When the text is empty or has other characters than visible ASCII.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let text = text.trim();
        anyhow::ensure!(!text.is_empty(), "the token is empty");
        anyhow::ensure!(
            text.bytes().all(|byte| byte.is_ascii_graphic()),
            "the token has characters other than visible ASCII"
        );
        Ok(Self(text.to_owned()))
    }

    /// Makes a token of 244 random bits.
    #[must_use]
    pub fn random() -> Self {
        let [first, second] = [(); 2].map(|()| uuid::Uuid::new_v4().simple());
        Self(format!("{first}{second}"))
    }

    /// Reads the token from the file, or else from the environment variable. There is no command-line option for a token,
    /// since other users of the machine could read it.
    ///
    /// # Errors
    /// When the file cannot be read, or the file or the variable holds no token.
    pub fn read(file: Option<&Path>, variable: &str) -> anyhow::Result<Option<Self>> {
        if let Some(path) = file {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("cannot read the token in {}", path.display()))?;
            let token = Self::parse(&text);
            return token
                .with_context(|| format!("in {}", path.display()))
                .map(Some);
        }
        let value = std::env::var(variable).ok();
        value
            .filter(|text| !text.is_empty())
            .map(|text| Self::parse(&text).with_context(|| format!("in {variable}")))
            .transpose()
    }

    /// Returns the secret text, to store it or to pass it on.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Returns the value of the metadata `authorization`.
    #[must_use]
    pub fn bearer(&self) -> MetadataValue<Ascii> {
        let mut value: MetadataValue<Ascii> = format!("Bearer {}", self.0)
            .parse()
            .expect("visible ASCII is valid metadata");
        value.set_sensitive(true);
        value
    }

    /// Checks that a call carries this token, in constant time.
    ///
    /// # Errors
    /// `UNAUTHENTICATED` when it does not.
    pub fn check(&self, metadata: &MetadataMap) -> Result<(), Status> {
        let authorization = metadata.get("authorization").map(MetadataValue::as_bytes);
        let Some((scheme, presented)) = authorization.and_then(|it| it.split_at_checked(7)) else {
            return Err(Status::unauthenticated(
                "the metadata `authorization: Bearer TOKEN` is missing",
            ));
        };
        if !scheme.eq_ignore_ascii_case(b"bearer ")
            || !bool::from(self.0.as_bytes().ct_eq(presented))
        {
            return Err(Status::unauthenticated("the token is wrong"));
        }
        Ok(())
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    fn check(token: &str, authorization: Option<&str>) -> Option<Code> {
        let mut metadata = MetadataMap::new();
        if let Some(authorization) = authorization {
            metadata.insert("authorization", authorization.parse().unwrap());
        }
        let checked = Token::parse(token).unwrap().check(&metadata);
        checked.err().map(|status| status.code())
    }

    #[test]
    fn only_the_right_token_is_accepted() {
        for right in ["Bearer secret", "bearer secret"] {
            assert_eq!(check("secret", Some(right)), None, "{right}");
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
            let refused = check("secret", Some(wrong));
            assert_eq!(refused, Some(Code::Unauthenticated), "{wrong:?}");
        }
        assert_eq!(check("secret", None), Some(Code::Unauthenticated));
    }

    #[test]
    fn a_token_is_visible_ascii_and_debug_hides_it() {
        for wrong in ["", " \n", "two words", "schlüssel", "a\u{7}"] {
            assert!(Token::parse(wrong).is_err(), "{wrong:?}");
        }
        let token = Token::parse(" secret\n").unwrap();
        assert_eq!(token.expose(), "secret");
        let shown = format!("{token:?} {:?}", token.bearer());
        assert!(!shown.contains("secret"), "{shown}");
    }

    #[test]
    fn a_token_is_read_from_its_file() {
        let file = std::env::temp_dir().join(uuid::Uuid::new_v4().to_string());
        std::fs::write(&file, "secret\n").unwrap();
        let token = Token::read(Some(&file), "UNUSED").unwrap().unwrap();
        assert_eq!(token.expose(), "secret");
        std::fs::write(&file, "\n").unwrap();
        assert!(Token::read(Some(&file), "UNUSED").is_err());
        std::fs::remove_file(&file).unwrap();
        assert!(Token::read(Some(&file), "UNUSED").is_err());
    }

    #[test]
    fn random_tokens_differ_and_are_tokens() {
        let (one, other) = (Token::random(), Token::random());
        assert_ne!(one.expose(), other.expose());
        assert_eq!(Token::parse(one.expose()).unwrap().expose().len(), 64);
    }
}

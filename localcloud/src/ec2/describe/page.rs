//! Pages of listings.

use std::ops::RangeInclusive;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::ec2::Ec2Error;
use crate::ec2::params::Params;

/// The sizes of page that most calls take.
pub const USUAL_SIZES: RangeInclusive<usize> = 5..=1000;

/// What a client asks for of a listing.
#[derive(Debug)]
pub struct PageRequest {
    /// Where the page begins: what the token of the page before says.
    pub start: Option<String>,
    /// Without a page size AWS answers everything.
    pub size: usize,
}

impl PageRequest {
    /// Reads MaxResults and NextToken.
    ///
    /// # Errors
    /// `InvalidParameterValue` when they make no sense, `InvalidParameterCombination` for a page of named resources.
    pub fn read(
        params: &Params,
        sizes: RangeInclusive<usize>,
        named: bool,
    ) -> Result<Self, Ec2Error> {
        let size = params.number("MaxResults")?;
        if size.is_some() && named {
            return Err(Ec2Error::InvalidParameterCombination(
                "The parameter instancesSet cannot be used with the parameter maxResults"
                    .to_owned(),
            ));
        }
        if size.is_some_and(|size| !sizes.contains(&size)) {
            return Err(Ec2Error::InvalidParameterValue(format!(
                "Value for parameter MaxResults is invalid. Expecting a value between {} and {}.",
                sizes.start(),
                sizes.end()
            )));
        }
        let start = match params.get("NextToken") {
            None => None,
            Some(token) => {
                let start = URL_SAFE_NO_PAD.decode(token).ok();
                let start = start.and_then(|start| String::from_utf8(start).ok());
                Some(start.ok_or_else(invalid_token)?)
            }
        };
        Ok(Self {
            start,
            size: size.unwrap_or(usize::MAX),
        })
    }

    /// As `read`, for listings whose pages begin at a number.
    ///
    /// # Errors
    /// As `read`.
    pub fn read_numbered(
        params: &Params,
        sizes: RangeInclusive<usize>,
        named: bool,
    ) -> Result<(u64, usize), Ec2Error> {
        let page = Self::read(params, sizes, named)?;
        let start = match page.start {
            None => 0,
            Some(start) => start.parse().map_err(|_| invalid_token())?,
        };
        Ok((start, page.size))
    }
}

/// The token of a page that begins so.
pub fn token(start: impl ToString) -> String {
    URL_SAFE_NO_PAD.encode(start.to_string())
}

fn invalid_token() -> Ec2Error {
    Ec2Error::InvalidParameterValue("Invalid value for parameter NextToken".to_owned())
}

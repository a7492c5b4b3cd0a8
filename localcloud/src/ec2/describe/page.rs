//! Pages of descriptions.

use std::ops::RangeInclusive;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::ec2::Ec2Error;
use crate::ec2::error::Ec2Result;
use crate::ec2::params::Params;

/// The page sizes that most calls allow.
pub const PAGE_SIZES: RangeInclusive<usize> = 5..=1000;

/// The page that a call asks for.
#[derive(Debug)]
pub struct PageRequest {
    /// The start of the page, from the token of the previous one.
    pub start: Option<String>,
    /// Unbounded if the call has no page size.
    pub size: usize,
}

impl PageRequest {
    /// Reads MaxResults and NextToken.
    ///
    /// # Errors
    /// `InvalidParameterValue`; `InvalidParameterCombination` for a page of named resources.
    pub fn read(params: &Params, sizes: RangeInclusive<usize>, named: bool) -> Ec2Result<Self> {
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

    /// As `read`, for descriptions whose pages start at a number.
    ///
    /// # Errors
    /// As `read`.
    pub fn read_numbered(
        params: &Params,
        sizes: RangeInclusive<usize>,
        named: bool,
    ) -> Ec2Result<(u64, usize)> {
        let page = Self::read(params, sizes, named)?;
        let start = match page.start {
            None => 0,
            Some(start) => start.parse().map_err(|_| invalid_token())?,
        };
        Ok((start, page.size))
    }
}

/// Returns the token of a page with this start.
pub fn token(start: impl ToString) -> String {
    URL_SAFE_NO_PAD.encode(start.to_string())
}

fn invalid_token() -> Ec2Error {
    Ec2Error::InvalidParameterValue("Invalid value for parameter NextToken".to_owned())
}

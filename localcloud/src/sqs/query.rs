//! The query protocol of older clients (version 2012-11-05): a form in, XML out. A call is translated to the JSON protocol
//! and its response back, so both protocols share the types and the rules.

mod form;
mod response;

use std::sync::Arc;

use super::{Sqs, SqsError};
use form::Form;

impl Sqs {
    /// Handles one call of the query protocol and returns an XML document. A form without a queue means the queue of the
    /// path, `/ACCOUNT/NAME`.
    ///
    /// # Errors
    /// SQS's errors, which `error_document` writes as XML.
    pub async fn call_query(
        self: &Arc<Self>,
        form: &[u8],
        path: &str,
        base_url: &str,
        request_id: &str,
    ) -> Result<String, SqsError> {
        let (action, body) = json_of_form(form, path)?;
        let response = self.call(&action, &body, base_url).await?;
        Ok(response::document(&action, &response, request_id))
    }
}

/// Returns the action of a form, and the body that the call has in the JSON protocol.
///
/// # Errors
/// `MissingParameter` without an action; `MalformedInput` for malformed forms.
pub(super) fn json_of_form(form: &[u8], path: &str) -> Result<(String, Vec<u8>), SqsError> {
    let form = Form::parse(form)?;
    let action = form
        .text("Action")
        .ok_or(SqsError::MissingParameter("Action"))?;
    let body = form.request(action, path)?;
    Ok((action.to_owned(), body))
}

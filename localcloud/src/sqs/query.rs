//! The query protocol of older clients (version 2012-11-05): a form in, XML out. A call is translated to the JSON protocol
//! and its response back, so both protocols share the types and the rules.

mod form;
mod response;

use std::sync::Arc;

use super::{Sqs, SqsError};
use crate::xml::Xml;
use form::Form;

const NAMESPACE: &str = "http://queue.amazonaws.com/doc/2012-11-05/";

impl Sqs {
    /// Handles one call of the query protocol and returns an XML document. A form without a queue means the queue of the
    /// path, `/ACCOUNT/NAME`.
    ///
    /// # Errors
    /// SQS's errors, which `query_error` writes as XML.
    pub async fn call_query(
        self: &Arc<Self>,
        form: &[u8],
        path: &str,
        base_url: &str,
        request_id: &str,
    ) -> Result<String, SqsError> {
        let form = Form::parse(form)?;
        let action = form
            .text("Action")
            .ok_or(SqsError::MissingParameter("Action"))?;
        let body = form.request(action, path)?;
        let response = self.call(action, &body, base_url).await?;
        Ok(response::document(action, &response, request_id))
    }
}

/// Returns the error document of the query protocol. `fault` is `Sender` or `Receiver`.
pub fn query_error(fault: &str, code: &str, message: &str, request_id: &str) -> String {
    let mut xml = Xml::document();
    xml.element_in(NAMESPACE, "ErrorResponse", |xml| {
        xml.element("Error", |xml| {
            xml.text("Type", fault);
            xml.text("Code", code);
            xml.text("Message", message);
            xml.element("Detail", |_| {});
        });
        xml.text("RequestId", request_id);
    });
    xml.into_text()
}

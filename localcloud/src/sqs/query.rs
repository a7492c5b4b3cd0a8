//! The query protocol that older clients speak (version 2012-11-05): a flat form in, XML out. Between the two a call is
//! the same JSON as in the newer protocol, so that both share the typed requests, the typed answers and the rules.

mod answer;
mod form;

use std::sync::Arc;

use super::{Sqs, SqsError};
use crate::xml::Xml;
use form::Form;

const NAMESPACE: &str = "http://queue.amazonaws.com/doc/2012-11-05/";

impl Sqs {
    /// Answers one call of the query protocol with an XML document. A form that names no queue means that of the path,
    /// `/ACCOUNT/NAME`, if there is one.
    ///
    /// # Errors
    /// Whatever SQS refuses; `query_error` writes it.
    pub async fn call_query(
        self: &Arc<Self>,
        form: &[u8],
        path: &str,
        base_url: &str,
        request_id: &str,
    ) -> Result<String, SqsError> {
        let form = Form::read(form)?;
        let action = form
            .text("Action")
            .ok_or(SqsError::MissingParameter("Action"))?;
        let body = form.request(action, path)?;
        let answer = self.call(action, &body, base_url).await?;
        Ok(answer::document(action, &answer, request_id))
    }
}

/// The error document of the query protocol. `fault` is `Sender` or `Receiver`.
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

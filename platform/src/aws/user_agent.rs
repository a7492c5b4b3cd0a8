//! A `User-Agent` header that is the same for each call.

use aws_runtime::user_agent::UserAgentInterceptor;
use aws_sdk_s3::config::interceptors::{
    BeforeSerializationInterceptorContextRef, BeforeTransmitInterceptorContextMut,
};
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use aws_smithy_runtime_api::client::interceptors::{disable_interceptor, dyn_dispatch_hint};

/// Names this program in place of the SDK, whose two headers list the features that a call uses and are made anew for each
/// one: 3 % of the processor time of front and workers under saturation.
#[derive(Debug)]
pub struct FixedUserAgent;

const USER_AGENT: &str = concat!("muster/", env!("CARGO_PKG_VERSION"), " aws-sdk-rust");

#[dyn_dispatch_hint]
impl Intercept for FixedUserAgent {
    fn name(&self) -> &'static str {
        "FixedUserAgent"
    }

    fn read_before_execution(
        &self,
        _context: &BeforeSerializationInterceptorContextRef<'_>,
        call: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let disabled = disable_interceptor::<UserAgentInterceptor>("the user agent is fixed");
        call.interceptor_state().store_put(disabled);
        Ok(())
    }

    fn modify_before_transmit(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        _call: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let headers = context.request_mut().headers_mut();
        headers.insert("user-agent", USER_AGENT);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use crate::aws::{Aws, AwsArgs};

    #[tokio::test]
    async fn a_call_names_this_program_once() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let args = AwsArgs {
            endpoint_url: Some(format!("http://{}", listener.local_addr().unwrap())),
            region: Some("us-east-1".to_owned()),
            prefix: "test".to_owned(),
        };
        let objects = Aws::connect_as(&args, "test", "test")
            .await
            .objects("bucket");
        let server = async {
            let (mut connection, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                assert_ne!(connection.read_buf(&mut request).await.unwrap(), 0);
            }
            let reply = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nbody";
            connection.write_all(reply).await.unwrap();
            String::from_utf8(request).unwrap()
        };
        let (request, got) = tokio::join!(server, objects.get("key"));
        assert_eq!(got.unwrap(), "body");
        let agents = request.lines().filter(|line| line.contains("user-agent"));
        let expected = format!("user-agent: {}", super::USER_AGENT);
        assert_eq!(agents.collect::<Vec<_>>(), [expected]);
    }
}

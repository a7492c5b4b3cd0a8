//! The instance metadata service. Each instance has a port of its own, named in its environment: the processes of one
//! machine cannot all have 169.254.169.254.

mod session;
mod tree;

#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;
use tracing::debug;

use super::Ec2;
use crate::accept::accept;
use crate::browser;
use crate::clock::Millis;
use crate::ec2::state::Instance;
use session::MetadataSessions;
use tree::InstanceRole;

const TOKEN: &str = "x-aws-ec2-metadata-token";
const TOKEN_TTL: &str = "x-aws-ec2-metadata-token-ttl-seconds";
/// Bounds the head of a request and the idle time before it.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// The endpoint of one instance. Dropping it closes the port and every connection.
#[derive(Debug)]
pub struct MetadataEndpoint {
    url: String,
    serving: AbortHandle,
}

impl MetadataEndpoint {
    /// Opens a port and serves the instance's metadata on it.
    ///
    /// # Errors
    /// When no port can be opened.
    pub async fn open(ec2: &Arc<Ec2>, instance_id: &str) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let service = Arc::new(MetadataService {
            ec2: Arc::clone(ec2),
            instance_id: instance_id.to_owned(),
            sessions: Mutex::default(),
        });
        let serving = accept(listener, move |stream| {
            serve_connection(stream, Arc::clone(&service))
        });
        let serving = tokio::spawn(serving).abort_handle();
        Ok(Self { url, serving })
    }

    /// Returns the value of `AWS_EC2_METADATA_SERVICE_ENDPOINT`, to which SDKs append absolute paths.
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for MetadataEndpoint {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

struct MetadataService {
    ec2: Arc<Ec2>,
    instance_id: String,
    sessions: Mutex<MetadataSessions>,
}

impl MetadataService {
    fn handle(&self, request: &Parts) -> Response<Full<Bytes>> {
        if browser::is_cross_site(&request.headers, true) {
            return error_page(StatusCode::FORBIDDEN);
        }
        let now = self.ec2.clock.now();
        let shared = self.ec2.lock();
        // The endpoint closes briefly after its instance is gone.
        let Some(instance) = shared.instances.get(&self.instance_id) else {
            return error_page(StatusCode::NOT_FOUND);
        };
        let options = &instance.spec.metadata;
        if !options.endpoint_enabled {
            return error_page(StatusCode::FORBIDDEN);
        }
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        match request.method {
            Method::PUT if request.uri.path() == "/latest/api/token" => {
                new_session(&mut sessions, request, now)
            }
            Method::GET | Method::HEAD => {
                let token = request.headers.get(TOKEN);
                let may_read = match token.map(HeaderValue::to_str) {
                    Some(Ok(token)) => sessions.is_valid(token, now),
                    Some(Err(_)) => false,
                    None => !options.tokens_required,
                };
                if may_read {
                    self.read(instance, request.uri.path())
                } else {
                    error_page(StatusCode::UNAUTHORIZED)
                }
            }
            _ => error_page(StatusCode::METHOD_NOT_ALLOWED),
        }
    }

    fn read(&self, instance: &Instance, path: &str) -> Response<Full<Bytes>> {
        let iam = &self.ec2.iam;
        let profile = instance.spec.instance_profile.as_deref();
        let role = profile.and_then(|profile| iam.role_of_profile(profile));
        let role = role.map(|role| InstanceRole {
            name: &role.name,
            credentials: iam.credentials(role, &instance.instance_id),
        });
        match tree::find(instance, &self.ec2.region, role.as_ref(), path) {
            Some(found) => respond(StatusCode::OK, found.content_type, found.body),
            None => error_page(StatusCode::NOT_FOUND),
        }
    }
}

fn new_session(
    sessions: &mut MetadataSessions,
    request: &Parts,
    now: Millis,
) -> Response<Full<Bytes>> {
    // A proxy may forward the request of another machine.
    if request.headers.contains_key("x-forwarded-for") {
        return error_page(StatusCode::FORBIDDEN);
    }
    let seconds = request
        .headers
        .get(TOKEN_TTL)
        .and_then(|seconds| seconds.to_str().ok())
        .and_then(|seconds| seconds.parse().ok());
    let Some((token, seconds)) =
        seconds.and_then(|seconds| Some((sessions.open(seconds, now)?, seconds)))
    else {
        return error_page(StatusCode::BAD_REQUEST);
    };
    let mut response = respond(StatusCode::OK, "text/plain", token.into_bytes());
    response
        .headers_mut()
        .insert(TOKEN_TTL, HeaderValue::from(seconds));
    response
}

/// Returns the page of an error.
fn error_page(status: StatusCode) -> Response<Full<Bytes>> {
    let title = format!(
        "{} - {}",
        status.as_u16(),
        status.canonical_reason().unwrap_or_default()
    );
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"iso-8859-1\"?>\n\
         <!DOCTYPE html PUBLIC \"-//W3C//DTD XHTML 1.0 Transitional//EN\" \
         \"http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd\">\n\
         <html xmlns=\"http://www.w3.org/1999/xhtml\" xml:lang=\"en\" lang=\"en\">\n \
         <head>\n  <title>{title}</title>\n </head>\n \
         <body>\n  <h1>{title}</h1>\n </body>\n</html>\n"
    );
    respond(status, "text/html", body.into_bytes())
}

fn respond(status: StatusCode, content_type: &'static str, body: Vec<u8>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::SERVER, HeaderValue::from_static("EC2ws"));
    response
}

async fn serve_connection(stream: TcpStream, service: Arc<MetadataService>) {
    let _ = stream.set_nodelay(true);
    let handler = service_fn(move |request: Request<Incoming>| {
        let service = Arc::clone(&service);
        async move { Ok::<_, Infallible>(service.handle(&request.into_parts().0)) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), handler)
        .await;
    if let Err(error) = served {
        debug!(%error, "connection to the metadata service ended");
    }
}

use reqwest::RequestBuilder;
use reqwest::header::HeaderMap;

/// An HTTP answer of the gateway, read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: String,
    pub headers: HeaderMap,
}

impl Answer {
    /// Sends the request, and reads the answer.
    pub async fn of(request: RequestBuilder) -> Self {
        let answer = Self::try_of(request).await;
        answer.expect("the gateway answers to the end")
    }

    /// Sends as [`Self::of`] does. An error is the connection's.
    pub async fn try_of(request: RequestBuilder) -> reqwest::Result<Self> {
        let answer = request.send().await?;
        Ok(Self {
            status: answer.status().as_u16(),
            headers: answer.headers().clone(),
            body: answer.text().await?,
        })
    }

    /// Returns the status alone, for an answer that does not end.
    pub async fn status_of(request: RequestBuilder) -> u16 {
        request.send().await.unwrap().status().as_u16()
    }

    /// Returns a header's value, which is empty if the header is missing.
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    /// Returns the request's id, which has 32 digits.
    #[track_caller]
    pub fn request_id(&self) -> &str {
        let id = self.header("x-request-id");
        assert_eq!(id.len(), 32, "{self:?}");
        id
    }

    /// Asserts that a photo was recognized, with this line as the body.
    #[track_caller]
    pub fn assert_recognized(&self, body: &str) {
        assert_eq!((self.status, self.body.as_str()), (200, body));
        self.request_id();
    }

    /// Asserts this status, and one line that contains `reason`.
    #[track_caller]
    pub fn assert_refused(&self, status: u16, reason: &str) {
        self.assert_refused_without_id(status, reason);
        self.request_id();
    }

    /// Asserts the same as [`Self::assert_refused`], for a path or method that makes no request.
    #[track_caller]
    pub fn assert_refused_without_id(&self, status: u16, reason: &str) {
        assert_eq!(self.status, status, "{}", self.body);
        assert!(self.body.contains(reason), "{}", self.body);
        assert_eq!(self.body.matches('\n').count(), 1, "{:?}", self.body);
        assert!(
            self.body.ends_with('\n') && self.body.trim().len() > 5,
            "{:?}",
            self.body
        );
        assert!(self.header("content-type").starts_with("text/plain"));
    }
}

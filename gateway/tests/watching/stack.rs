//! front, gateway and workers as processes, on a local cloud in this one.

pub use testkit::Service;
use testkit::{
    Answer, LocalCloud, Services, eventually, http_client, samples, until_ready, upload,
};

pub const PREFIX: &str = "watched";

pub struct Stack {
    pub cloud: LocalCloud,
    pub front: Service,
    pub gateway: Service,
    url: String,
    services: Services,
}

impl Stack {
    /// Starts front and gateway with these settings, and no worker.
    pub async fn start(settings: &[(&str, &str)]) -> Self {
        let cloud = LocalCloud::start(localcloud::Config::default()).await;
        let own = [
            ("MUSTER_LOG", "info,gateway=debug,worker=debug"),
            // The job of a worker that died comes back soon, and spans are sent soon.
            ("MUSTER_VISIBILITY_TIMEOUT", "3"),
            ("OTEL_BSP_SCHEDULE_DELAY", "50"),
        ];
        let services = Services::new(&cloud.url, PREFIX, &[&own[..], settings].concat());
        let (front, front_url) = services.listen("front", &[]).await;
        let arguments = ["--front", &front_url];
        let (gateway, url) = services.listen("gateway", &arguments).await;
        until_ready(&url).await;
        Self {
            cloud,
            front,
            gateway,
            url,
            services,
        }
    }

    /// Starts a worker, and waits until it is ready.
    pub async fn worker(&self, instance_id: &str) -> Service {
        let (models, gallery) = (samples::models(), samples::gallery());
        let arguments = [
            "serve",
            "--engine=native",
            "--inference-threads=1",
            "--instance-id",
            instance_id,
            "--models",
            models.to_str().unwrap(),
            "--gallery",
            gallery.to_str().unwrap(),
        ];
        let worker = self.services.start("worker", &arguments);
        eventually("the worker is ready", async || {
            !worker.lines("ready").is_empty()
        })
        .await;
        worker
    }

    /// Posts a photo, with a `traceparent` if it is given.
    pub async fn post(&self, file_name: &str, photo: Vec<u8>, traceparent: Option<&str>) -> Answer {
        let mut request = http_client().post(&self.url);
        if let Some(traceparent) = traceparent {
            request = request.header("traceparent", traceparent);
        }
        Answer::of(request.multipart(upload(file_name, photo))).await
    }
}

/// A photo of somebody in the gallery.
pub fn photo() -> Vec<u8> {
    std::fs::read(&samples::validation_photos()[0].1).unwrap()
}

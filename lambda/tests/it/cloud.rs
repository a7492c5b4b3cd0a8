//! A local cloud with the buckets and queues of the functions, and the functions in the test's process.

use std::collections::HashMap;
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use aws_config::SdkConfig;
use aws_sdk_lambda::primitives::Blob;
use aws_sdk_lambda::types::{Environment, FunctionCode, Runtime};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_sqs::types::QueueAttributeName;
use clap::Parser;
use lambda::event::Invocation;
use lambda::failure::Failure;
use lambda::function::Function;
use lambda::settings::FunctionSettings;
use localcloud::{Authentication, Config};
use serde_json::{Value, json};
pub use testkit::samples::photo_of as portrait;
use testkit::samples::{gallery, models};
use testkit::{LocalCloud, http_client};
use worker::service::LinkedEngines;

use crate::stand_in::StandIn;

pub const INPUT: &str = "test-input";
pub const STAGE: &str = "test-stage-1";
pub const OUTPUT: &str = "test-output";

pub struct Cloud {
    pub config: SdkConfig,
    pub s3: aws_sdk_s3::Client,
    pub sqs: aws_sdk_sqs::Client,
    pub lambda: aws_sdk_lambda::Client,
    cloud: LocalCloud,
}

/// An object as a client sees it.
#[derive(Debug, PartialEq, Eq)]
pub struct Object {
    pub body: String,
    pub metadata: HashMap<String, String>,
    pub modified: Option<aws_sdk_s3::primitives::DateTime>,
}

impl Cloud {
    /// With the three buckets.
    pub async fn start() -> Self {
        Self::with(Config::default()).await
    }

    /// As [`Self::start`]; takes unsigned requests, which [`Self::log`] sends.
    pub async fn for_everybody() -> Self {
        Self::with(Config {
            authentication: Authentication::Any,
            ..Config::default()
        })
        .await
    }

    async fn with(config: Config) -> Self {
        let cloud = LocalCloud::start(config).await;
        let aws = cloud.aws("test").await;
        let config = aws.config().clone();
        for bucket in [INPUT, STAGE, OUTPUT] {
            aws.objects(bucket).ensure().await.unwrap();
        }
        let s3 = aws_sdk_s3::config::Builder::from(&config);
        Self {
            s3: aws_sdk_s3::Client::from_conf(s3.force_path_style(true).build()),
            sqs: aws_sdk_sqs::Client::new(&config),
            lambda: aws_sdk_lambda::Client::new(&config),
            config,
            cloud,
        }
    }

    pub async fn put(&self, bucket: &str, key: &str, body: impl Into<Vec<u8>>) {
        let put = self.s3.put_object().bucket(bucket).key(key);
        let body = ByteStream::from(body.into());
        put.body(body).send().await.unwrap();
    }

    pub async fn get(&self, bucket: &str, key: &str) -> Option<Object> {
        let got = self.s3.get_object().bucket(bucket).key(key).send().await;
        let got = match got {
            Ok(got) => got,
            Err(error) if error.as_service_error()?.is_no_such_key() => return None,
            Err(error) => panic!("{error:?}"),
        };
        let body = got.body.collect().await.unwrap().to_vec();
        Some(Object {
            body: String::from_utf8(body).unwrap(),
            metadata: got.metadata.unwrap_or_default(),
            modified: got.last_modified,
        })
    }

    pub async fn keys(&self, bucket: &str) -> Vec<String> {
        let list = self.s3.list_objects_v2().bucket(bucket).send();
        let contents = list.await.unwrap().contents.unwrap_or_default();
        contents.into_iter().filter_map(|it| it.key).collect()
    }

    /// Makes a queue and returns its URL.
    pub async fn queue(&self, name: &str) -> String {
        let made = self.sqs.create_queue().queue_name(name).send().await;
        made.unwrap().queue_url.unwrap()
    }

    pub async fn queue_arn(&self, url: &str) -> String {
        let name = QueueAttributeName::QueueArn;
        let get = self.sqs.get_queue_attributes().queue_url(url);
        let got = get.attribute_names(name.clone()).send().await.unwrap();
        got.attributes.unwrap().remove(&name).unwrap()
    }

    /// Sets a queue's visibility timeout in seconds.
    pub async fn hide_for(&self, queue: &str, seconds: &str) {
        let set = self.sqs.set_queue_attributes().queue_url(queue);
        let set = set.attributes(QueueAttributeName::VisibilityTimeout, seconds);
        set.send().await.unwrap();
    }

    /// Takes all messages out of a queue.
    pub async fn take(&self, queue: &str) -> Vec<Value> {
        let mut bodies = Vec::new();
        loop {
            let receive = self.sqs.receive_message().queue_url(queue);
            let received = receive.max_number_of_messages(10).send().await.unwrap();
            let messages = received.messages.unwrap_or_default();
            if messages.is_empty() {
                return bodies;
            }
            for message in messages {
                bodies.push(serde_json::from_str(&message.body.unwrap()).unwrap());
                let delete = self.sqs.delete_message().queue_url(queue);
                let delete = delete.receipt_handle(message.receipt_handle.unwrap());
                delete.send().await.unwrap();
            }
        }
    }

    /// Makes a function of localcloud that runs the built program, with these variables. Returns its ARN.
    pub async fn deploy(&self, handler: &str, variables: &[(&str, &str)]) -> String {
        let variables = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let path = |path: PathBuf| path.to_str().unwrap().to_owned();
        let own = [
            ("MUSTER_MODELS", path(models())),
            ("MUSTER_GALLERY", path(gallery())),
        ];
        let own = own.map(|(name, value)| (name.to_owned(), value));
        let environment =
            Environment::builder().set_variables(Some(variables.chain(own).collect()));
        let made = self.lambda.create_function();
        let made = made
            .function_name(handler)
            .handler(handler)
            .runtime(Runtime::Providedal2023);
        let made = made
            .role("arn:aws:iam::000000000000:role/test")
            .timeout(60)
            .memory_size(1024);
        let code = FunctionCode::builder()
            .zip_file(Blob::new(package()))
            .build();
        let made = made
            .code(code)
            .environment(environment.build())
            .send()
            .await;
        made.unwrap().function_arn.unwrap()
    }

    /// Returns all lines of a function's log, or none before its first invocation has ended.
    pub async fn log(&self, function: &str) -> Vec<String> {
        let body = json!({ "logGroupName": format!("/aws/lambda/{function}") });
        let post = http_client().post(&self.cloud.url).body(body.to_string());
        let post = post.header("X-Amz-Target", "Logs_20140328.FilterLogEvents");
        let reply = post.send().await.unwrap().bytes().await.unwrap();
        let reply: Value = serde_json::from_slice(&reply).unwrap();
        let events = reply["events"].as_array().into_iter().flatten();
        events
            .map(|event| event["message"].as_str().unwrap().to_owned())
            .collect()
    }

    /// video-splitting, whose frames go to face-recognition with the same settings.
    pub async fn pipeline(&self, settings: &[&str]) -> Function {
        let recognition = self.function("face-recognition", settings).await;
        let lambda = StandIn::start(recognition, 0).await;
        self.splitting(settings, &lambda).await
    }

    /// video-splitting, which invokes the other function there.
    pub async fn splitting(&self, settings: &[&str], lambda: &StandIn) -> Function {
        let config = self.config.to_builder().endpoint_url(&lambda.url).build();
        let mut function = self.function("video-splitting", settings).await;
        if let Function::Splitting(splitting) = &mut function {
            let retries = splitting.lambda.config().retry_config().cloned();
            let mut config = aws_sdk_lambda::config::Builder::from(&config);
            config.set_retry_config(retries);
            splitting.lambda = aws_sdk_lambda::Client::from_conf(config.build());
        }
        function
    }

    /// A function with these settings, such as `["--clip-mode", "frames"]`.
    pub async fn function(&self, name: &str, settings: &[&str]) -> Function {
        let settings = ["test"].iter().chain(settings);
        let mut settings = FunctionSettings::try_parse_from(settings).unwrap();
        settings.models = Some(models());
        settings.gallery = Some(gallery());
        let config = self.config.clone();
        let linked = LinkedEngines::NATIVE_ONLY;
        Function::load(name, settings, linked, async { config })
            .await
            .unwrap()
    }
}

/// A package with a script that starts the built program, which is larger than tests should zip.
fn package() -> Vec<u8> {
    let script = format!("#!/bin/sh\nexec '{}'\n", env!("CARGO_BIN_EXE_bootstrap"));
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default();
    let options = options.compression_method(zip::CompressionMethod::Stored);
    zip.start_file("bootstrap", options.unix_permissions(0o755))
        .unwrap();
    zip.write_all(script.as_bytes()).unwrap();
    zip.finish().unwrap().into_inner()
}

/// Returns an invocation with a minute left.
pub fn invocation(id: &str) -> Invocation {
    Invocation {
        id: id.to_owned(),
        deadline: SystemTime::now() + Duration::from_secs(60),
    }
}

pub async fn call(function: &Function, event: Value) -> Result<Value, Failure> {
    function.call(event, &invocation("request-1")).await
}

/// A picture of nothing.
pub fn empty_picture() -> Vec<u8> {
    let picture = image::RgbImage::from_fn(320, 240, |x, y| image::Rgb([x as u8, y as u8, 90]));
    let mut bytes = std::io::Cursor::new(Vec::new());
    picture
        .write_to(&mut bytes, image::ImageFormat::Jpeg)
        .unwrap();
    bytes.into_inner()
}

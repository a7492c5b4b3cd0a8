//! What the hops of a request cost when nothing else happens: one after the other, by the clients that the services use.

use std::time::{Duration, Instant};

use bytes::Bytes;
use platform::aws::Aws;
use platform::objects::Metadata;
use platform::queue::BATCH_LIMIT;
use platform::tls::PeerTlsArgs;
use serde::Serialize;
use testkit::{Program, cpu_seconds};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::load;
use crate::stack::Stack;

const BODY_BYTES: usize = 300;
const PHOTO_BYTES: usize = 100;

/// The cost of one hop.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Hop {
    pub name: &'static str,
    /// Median time from request to response.
    pub microseconds: f64,
    /// Mean processor time of the client and of the server.
    pub client_cpu: f64,
    pub server_cpu: f64,
}

#[derive(Debug, Serialize)]
pub struct Floor {
    pub hops: Vec<Hop>,
}

/// Measures each hop so many times.
pub async fn measure(stack: &Stack, times: usize) -> anyhow::Result<Floor> {
    let aws = stack.aws().await;
    let mut hops = vec![http_hop(stack, times).await?, grpc_hop(stack, times).await?];
    hops.extend(s3_hops(stack, &aws, times).await?);
    hops.extend(sqs_hops(stack, &aws, times).await?);
    Ok(Floor { hops })
}

impl Floor {
    /// Returns a hop; the names are those of this module.
    pub fn hop(&self, name: &str) -> Hop {
        let found = self.hops.iter().find(|hop| hop.name == name);
        *found.expect("the hop is one of this module")
    }

    /// Returns the least processor time in microseconds of a request, by part: its HTTP hop, its gRPC hop, the put and the
    /// get of the photo, the put of the result, and a tenth of each batch of ten messages.
    pub fn of_request(&self) -> Vec<(&'static str, f64)> {
        let (http, grpc) = (self.hop("HTTP"), self.hop("gRPC"));
        let (put, get) = (self.hop("S3 put"), self.hop("S3 get"));
        let batches = ["SQS send of ten", "SQS receive of ten", "SQS delete of ten"];
        let batches = batches.map(|name| self.hop(name));
        let tenth = |cost: fn(&Hop) -> f64| {
            let sum: f64 = batches.iter().map(cost).sum();
            sum / BATCH_LIMIT as f64
        };
        let (client, server) = (tenth(|hop| hop.client_cpu), tenth(|hop| hop.server_cpu));
        vec![
            ("load generator", http.client_cpu),
            ("gateway", http.server_cpu + grpc.client_cpu),
            ("front", grpc.server_cpu + put.client_cpu + client),
            ("workers", get.client_cpu + put.client_cpu + client),
            (
                "localcloud",
                2.0 * put.server_cpu + get.server_cpu + 2.0 * server,
            ),
        ]
    }
}

async fn http_hop(stack: &Stack, times: usize) -> anyhow::Result<Hop> {
    let mut connection = load::connect(stack.gateway_address).await?;
    let request = b"GET /healthz HTTP/1.1\r\nhost: gateway\r\n\r\n";
    let turn = async |_| {
        load::exchange(&mut connection, request, "ok").await?;
        Ok(())
    };
    hop("HTTP", &stack.gateway, times, turn).await
}

async fn grpc_hop(stack: &Stack, times: usize) -> anyhow::Result<Hop> {
    let channel = platform::grpc::channel(&stack.front_url, &PeerTlsArgs::default())?;
    let mut client = HealthClient::new(channel);
    let turn = async |_| {
        client.check(HealthCheckRequest::default()).await?;
        Ok(())
    };
    hop("gRPC", &stack.front, times, turn).await
}

async fn s3_hops(stack: &Stack, aws: &Aws, times: usize) -> anyhow::Result<[Hop; 2]> {
    let bucket = aws.objects("bench-floor");
    bucket.ensure().await?;
    let (photo, digest) = (Bytes::from(vec![7; PHOTO_BYTES]), "0".repeat(64));
    let put = async |number| {
        let metadata = Metadata::from([("sha256".to_owned(), digest.clone())]);
        let key = format!("photo-{number}");
        bucket.put_if_absent(&key, photo.clone(), metadata).await?;
        Ok(())
    };
    let put = hop("S3 put", &stack.cloud, times, put).await?;
    let get = async |number| {
        bucket.get(&format!("photo-{number}")).await?;
        Ok(())
    };
    let get = hop("S3 get", &stack.cloud, times, get).await?;
    Ok([put, get])
}

async fn sqs_hops(stack: &Stack, aws: &Aws, times: usize) -> anyhow::Result<Vec<Hop>> {
    let attributes = testkit::plain_queue(Duration::from_secs(600));
    let queue = aws.ensure_queue("bench-floor", &attributes).await?;
    let body = "x".repeat(BODY_BYTES);
    let mut hops = Vec::new();
    for (limit, names) in [
        (1, ["SQS send", "SQS receive", "SQS delete"]),
        (
            BATCH_LIMIT,
            ["SQS send of ten", "SQS receive of ten", "SQS delete of ten"],
        ),
    ] {
        let send = async |_| {
            if limit == 1 {
                return Ok(queue.send(body.clone()).await?);
            }
            let sent = queue.send_batch(vec![body.clone(); limit]).await;
            Ok(sent.into_iter().collect::<Result<_, _>>()?)
        };
        hops.push(hop(names[0], &stack.cloud, times, send).await?);
        let mut received = Vec::new();
        let receive = async |_| {
            let messages = queue.receive(limit, Duration::ZERO).await?;
            let handles = messages.into_iter().map(|message| message.receipt_handle);
            received.push(handles.collect::<Vec<_>>());
            Ok(())
        };
        hops.push(hop(names[1], &stack.cloud, times, receive).await?);
        let delete = async |_| {
            let mut handles = received.pop().unwrap_or_default();
            if limit == 1 {
                let handle = handles.pop().unwrap_or_default();
                return Ok(queue.delete(&handle).await?);
            }
            Ok(queue.delete_batch(handles).await?)
        };
        hops.push(hop(names[2], &stack.cloud, times, delete).await?);
    }
    Ok(hops)
}

async fn hop(
    name: &'static str,
    server: &Program,
    times: usize,
    mut turn: impl AsyncFnMut(usize) -> anyhow::Result<()>,
) -> anyhow::Result<Hop> {
    let client_seconds = || cpu_seconds(std::process::id());
    let (client_before, server_before) = (client_seconds(), server.cpu_seconds());
    let mut elapsed = Vec::with_capacity(times);
    for number in 0..times {
        let began = Instant::now();
        turn(number).await?;
        elapsed.push(began.elapsed().as_secs_f64() * 1e6);
    }
    let mean = |seconds: f64| seconds * 1e6 / times as f64;
    let (client_cpu, server_cpu) = (
        mean(client_seconds() - client_before),
        mean(server.cpu_seconds() - server_before),
    );
    elapsed.sort_by(f64::total_cmp);
    Ok(Hop {
        name,
        microseconds: elapsed[times / 2],
        client_cpu,
        server_cpu,
    })
}

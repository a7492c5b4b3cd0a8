//! What the load generator costs itself: an open loop against a server that does nothing, which shares the processor with it.
//! Prints requests a second, how late they were sent, and the processor time of both sides; writes them as JSON.

use std::convert::Infallible;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use clap::Parser;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use loadgen::arrivals::{Load, Process};
use loadgen::client::Client;
use loadgen::drive::Request;
use loadgen::run::open::OpenLoop;
use loadgen::run::recorder::Recorder;
use loadgen::run::summary::{LoadReport, LoopKind};
use loadgen::target::TargetArgs;
use nix::sys::resource::{UsageWho, getrusage};
use tokio_util::sync::CancellationToken;

#[derive(Debug, Parser)]
struct Cli {
    /// Requests a second, each in a run of its own
    #[arg(long, value_delimiter = ',', default_value = "1000,10000,20000,25000")]
    rates: Vec<f64>,
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Size of the photo
    #[arg(long, default_value_t = 1000)]
    bytes: usize,
    /// Threads of each side: the cores of the machine that is wanted
    #[arg(long, default_value_t = 2)]
    threads: usize,
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/bench/load/overhead.json"))]
    json: PathBuf,
    /// Be the server
    #[arg(long, hide = true)]
    serve: bool,
    /// `cargo bench` gives it
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Debug, Parser)]
struct Target {
    #[command(flatten)]
    target: TargetArgs,
}

#[derive(Debug, serde::Serialize)]
struct Row {
    rate: f64,
    report: LoadReport,
    generator_cpu_us_a_request: f64,
    server_cpu_us_a_request: f64,
}

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(cli.threads)
        .enable_all()
        .build()?;
    if cli.serve {
        return runtime.block_on(serve());
    }
    println!("processor: {}, {} threads a side", processor(), cli.threads);
    println!(
        "{:>8} {:>9} {:>6} {:>6} | sent late, ms {:>6} {:>6} | latency, ms {:>6} {:>6} | CPU us a request: generator, server",
        "due/s", "answered/s", "failed", "shed", "p50", "p99", "p50", "p99"
    );
    let rows: Vec<Row> = cli
        .rates
        .iter()
        .map(|rate| measure(&cli, &runtime, *rate))
        .collect::<anyhow::Result<_>>()?;
    if let Some(folder) = cli.json.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(&cli.json, serde_json::to_string_pretty(&rows)? + "\n")?;
    println!("figures: {}", cli.json.display());
    Ok(())
}

fn measure(cli: &Cli, runtime: &tokio::runtime::Runtime, rate: f64) -> anyhow::Result<Row> {
    let mut server = Command::new(std::env::current_exe()?)
        .args(["--serve", "--threads", &cli.threads.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut address = String::new();
    BufReader::new(server.stdout.take().context("a pipe")?).read_line(&mut address)?;
    let url = format!("http://{}/", address.trim());
    let target = Target::try_parse_from(["bench", "--url", &url])?.target;
    let recorder = Arc::new(Mutex::new(Recorder::new(Duration::from_secs(1), None)));
    let request = Request {
        file_name: "a.jpg".to_owned(),
        image: Bytes::from(vec![7; cli.bytes]),
        name: "Ben".to_owned(),
        ..Request::default()
    };
    let end = Duration::from_secs_f64(cli.seconds + 1.0);
    let load = Load {
        rate,
        ramp: Duration::ZERO,
        process: Process::Poisson,
        seed: 1,
    };
    let (cpu_before, server_before) =
        (cpu(UsageWho::RUSAGE_SELF)?, cpu(UsageWho::RUSAGE_CHILDREN)?);
    runtime.block_on(async {
        let open_loop = OpenLoop {
            client: Client::new(&target)?,
            requests: vec![request],
            max_in_flight: 500,
            recorder: Arc::clone(&recorder),
            stop: CancellationToken::new(),
        };
        let arrivals = load.arrivals().take_while(move |due| *due < end);
        open_loop.run(arrivals, Instant::now()).await;
        anyhow::Ok(())
    })?;
    let generator = cpu(UsageWho::RUSAGE_SELF)? - cpu_before;
    // The server ends with its standard input.
    drop(server.stdin.take());
    server.wait()?;
    let server = cpu(UsageWho::RUSAGE_CHILDREN)? - server_before;
    let recorder = recorder.lock().expect("no holder panicked");
    let all = recorder.counts.sent() + recorder.warm_up_counts.sent();
    let each = |time: Duration| time.as_secs_f64() * 1e6 / all.max(1) as f64;
    let report = LoadReport::new(url, LoopKind::Open, format!("{rate} a second"), &recorder);
    let row = Row {
        rate,
        generator_cpu_us_a_request: each(generator),
        server_cpu_us_a_request: each(server),
        report,
    };
    let (lag, latency) = (row.report.generator_lag_ms, row.report.latency_ms);
    let (lag, latency) = (lag.context("no request")?, latency.context("no answer")?);
    let shown = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.2}"));
    println!(
        "{:>8} {:>10.0} {:>6} {:>6} | {:>20} {:>6} | {:>18} {:>6} | {:.1}, {:.1}",
        rate,
        row.report.answered_per_s.unwrap_or_default(),
        row.report.requests.failed,
        row.report.requests.shed,
        shown(lag.p50),
        shown(lag.p99),
        shown(latency.p50),
        shown(latency.p99),
        row.generator_cpu_us_a_request,
        row.server_cpu_us_a_request,
    );
    Ok(row)
}

fn cpu(who: UsageWho) -> anyhow::Result<Duration> {
    let usage = getrusage(who)?;
    let time = |time: nix::sys::time::TimeVal| {
        Duration::from_micros((time.tv_sec() * 1_000_000 + time.tv_usec()) as u64)
    };
    Ok(time(usage.user_time()) + time(usage.system_time()))
}

fn processor() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let value = |key: &str| {
        let line = info.lines().find(|line| line.starts_with(key));
        let value = line.and_then(|line| line.split(": ").nth(1));
        value.unwrap_or("?").to_owned()
    };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let (name, model) = (value("model name"), value("model\t"));
    format!("{name} (model {model}), {cores} cores")
}

/// Reads each request and answers it, until standard input ends.
async fn serve() -> anyhow::Result<()> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    let serving = async {
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                continue;
            };
            let _ = stream.set_nodelay(true);
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service_fn(answer));
            tokio::spawn(connection);
        }
    };
    let ended = tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new()));
    tokio::select! {
        () = serving => {}
        _ = ended => {}
    }
    Ok(())
}

async fn answer(
    request: hyper::Request<Incoming>,
) -> Result<hyper::Response<Full<Bytes>>, Infallible> {
    let mut body = request.into_body();
    while let Some(Ok(_)) = body.frame().await {}
    Ok(hyper::Response::new(Full::new(Bytes::from_static(
        b"a:Ben\n",
    ))))
}

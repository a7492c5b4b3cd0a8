//! `BENCH=machinery make bench`: everything but the recognition. Requests a second, latency, AWS calls and processor time of a
//! recognition by gateway, front, queue and workers whose recognizer does nothing, with localcloud on the same machine.
//!
//! The floor is what each hop costs alone, measured in the same run. Rates on a shared machine drift: where other programs
//! take the cores, the processor time of a request tells more.

mod bill;
mod floor;
mod load;
mod report;
mod stack;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use platform::duration;
use serde_json::json;

use load::{Photos, Sent};
use report::Run;
use stack::Stack;

/// Measures the machinery; run by `make bench`.
#[derive(Debug, Clone, Parser)]
pub struct Args {
    /// Measurements, whose medians are reported
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of one measurement at saturation
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Clients at saturation, each of which sends one photo after the other
    #[arg(long, default_value_t = 256)]
    clients: usize,
    /// Requests a second at random times, for the latency
    #[arg(long, default_value_t = 100.0)]
    rate: f64,
    /// Requests of one measurement at that rate
    #[arg(long, default_value_t = 1000)]
    requests: usize,
    /// Worker processes
    #[arg(long, default_value_t = 2)]
    workers: usize,
    /// Jobs at once of each worker
    #[arg(long, default_value_t = 32)]
    jobs: usize,
    /// How long a photo occupies a worker's thread
    #[arg(long, value_parser = duration::parse, default_value = "0ms")]
    light_time: Duration,
    /// Measurements of each hop of the floor
    #[arg(long, default_value_t = 500)]
    hops: usize,
    /// Folder with the programs localcloud, front, gateway and worker-light [default: that of this build]
    #[arg(long, value_name = "DIR")]
    programs: Option<PathBuf>,
    /// Set by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

/// The most requests a second that a measurement has photos for.
const MOST_A_SECOND: f64 = 6000.0;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let stack = Stack::start(&args).await?;
    let gateway = stack.gateway_address;
    let time = Duration::from_secs_f64(args.seconds);
    let (mut saturated, mut at_rate, mut floors) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=args.rounds {
        let seed = round as u64 * 2;
        let count = (args.seconds * MOST_A_SECOND) as usize;
        let photos = Photos::new(seed, count);
        let closed = run(
            &stack,
            load::closed_loop(gateway, photos, args.clients, time),
        )
        .await?;
        let photos = Photos::new(seed + 1, args.requests);
        let open = run(&stack, load::open_loop(gateway, photos, args.rate)).await?;
        let floor = floor::measure(&stack, args.hops).await?;
        if round == 0 {
            // The first round opens connections and fills caches.
            println!("bench: {} rounds ...", args.rounds);
            continue;
        }
        println!(
            "bench: round {round}: {:.0} requests/s, p99 {:.1} ms at {} a second",
            closed.rate, open.p99_ms, args.rate
        );
        saturated.push(closed);
        at_rate.push(open);
        floors.push(floor);
    }
    let (saturated, at_rate) = (report::median(&saturated), report::median(&at_rate));
    let floor = report::median_floor(&floors);
    report::print(&args, &saturated, &at_rate, &floor);
    let of_request: BTreeMap<_, _> = floor.of_request().into_iter().collect();
    let report = json!({
        "processor": testkit::processor(), "cores": std::thread::available_parallelism()?.get(), "clients": args.clients,
        "workers": args.workers, "jobs": args.jobs, "light_time_ms": args.light_time.as_secs_f64() * 1e3,
        "saturated": saturated, "rate": args.rate, "at_rate": at_rate, "floor": floor.hops, "floor_of_request": of_request,
    });
    testkit::write_figures("machinery", &report);
    Ok(())
}

/// Counts calls and processor time while requests are sent.
async fn run(
    stack: &Stack,
    sending: impl Future<Output = anyhow::Result<Sent>>,
) -> anyhow::Result<Run> {
    let (calls, cpu) = (stack.calls().await?, stack.cpu());
    let sent = sending.await?;
    Run::new(&sent, (cpu, stack.cpu()), (calls, stack.calls().await?))
}

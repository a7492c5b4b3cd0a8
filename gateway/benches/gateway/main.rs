//! `BENCH=gateway make bench`: requests a second through the gateway, without and with pages open.
//!
//! Front and scaler are stand-ins in this process that answer at once, so that the gateway is what is measured. All share
//! the machine's cores. Rates on a shared machine drift, so the two are measured in turns, and the median counts. Where other
//! programs take most of the cores, the gateway's CPU time for a request tells more than the rates.

mod load;
mod pages;
mod servers;

use std::time::Duration;

use clap::Parser;
use load::Load;
use pages::Pages;
use serde_json::json;
use servers::{Front, GatewayProcess};
use testkit::median;

/// Pages may cost this share of the requests a second.
const MOST_COST: f64 = 0.03;

/// Measures the gateway; run by `make bench`.
#[derive(Debug, Parser)]
struct Args {
    /// Measurements without and with pages, whose median is reported
    #[arg(long, default_value_t = 15)]
    rounds: usize,
    /// Seconds of one measurement
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Connections that send photos
    #[arg(long, default_value_t = 32)]
    clients: usize,
    /// Pages that are open
    #[arg(long, default_value_t = 10)]
    pages: usize,
    /// Set by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let front = Front::start().await?;
    let (scaler, deciding) = servers::deciding_scaler().await;
    let gateway = GatewayProcess::start(&front.url, &scaler.url).await;
    let mut load = Load::connect(gateway.address, args.clients).await?;
    let time = Duration::from_secs_f64(args.seconds);
    load.run(time).await?;
    println!(
        "bench: {} rounds of {:?} with {} clients, without and with {} pages ...",
        args.rounds, time, args.clients, args.pages
    );
    let (mut without, mut with) = (Samples::default(), Samples::default());
    let mut statuses = 0;
    for round in 0..args.rounds {
        // Each comes first in turn, so that a drift of the machine's speed favors neither.
        for has_pages in [round % 2 == 0, round % 2 != 0] {
            if has_pages {
                let pages = Pages::open(gateway.address, args.pages).await?;
                with.measure(&gateway, &mut load, time).await?;
                statuses += pages.close();
            } else {
                without.measure(&gateway, &mut load, time).await?;
            }
        }
    }
    deciding.abort();
    let [rate, rate_with] = [&without, &with].map(|it| median(it.rates.clone()));
    let [cpu, cpu_with] = [&without, &with].map(|it| median(it.cpu.clone()));
    let ratios: Vec<f64> = with
        .rates
        .iter()
        .zip(&without.rates)
        .map(|(a, b)| a / b)
        .collect();
    let (ratio, cpu_ratio) = (median(ratios.clone()), cpu_with / cpu);
    let seconds = args.seconds * (args.rounds * args.pages) as f64;
    let statuses = statuses as f64 / seconds;
    let processor = testkit::processor();
    println!("processor                       {processor}");
    println!("requests/s without a page       {rate:.0}");
    println!(
        "requests/s with {:2} pages        {rate_with:.0}",
        args.pages
    );
    println!("gateway's CPU time a request    {cpu:.1} us, with pages {cpu_with:.1} us");
    println!("ratio of CPU times              {cpu_ratio:.3}");
    println!("status events/s of a page       {statuses:.1}");
    let verdict = if ratio >= 1.0 - MOST_COST {
        "within"
    } else {
        "NOT within"
    };
    println!(
        "median ratio of a round         {ratio:.3}: {verdict} {:.0} %",
        MOST_COST * 100.0
    );
    let report = json!({
        "processor": processor, "cores": std::thread::available_parallelism()?.get(), "clients": args.clients,
        "pages": args.pages, "requests_per_s": rate.round(), "requests_per_s_with_pages": rate_with.round(),
        "pages_ratio": ratio, "pages_cpu_ratio": cpu_ratio, "pages_ratios": ratios, "cpu_us_per_request": cpu, "cpu_us_per_request_with_pages": cpu_with,
        "status_events_per_s": statuses,
    });
    testkit::write_figures("gateway", &report);
    Ok(())
}

#[derive(Debug, Default)]
struct Samples {
    /// Requests a second.
    rates: Vec<f64>,
    /// Microseconds of the gateway's CPU time for a request.
    cpu: Vec<f64>,
}

impl Samples {
    async fn measure(
        &mut self,
        gateway: &GatewayProcess,
        load: &mut Load,
        time: Duration,
    ) -> anyhow::Result<()> {
        let before = gateway.program.cpu_seconds();
        let (requests, elapsed) = load.run(time).await?;
        let cpu = gateway.program.cpu_seconds() - before;
        self.rates.push(requests as f64 / elapsed.as_secs_f64());
        self.cpu.push(cpu * 1e6 / requests as f64);
        Ok(())
    }
}

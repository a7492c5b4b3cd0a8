use super::levels::one_worker;
use super::*;
use crate::random::{Random, Stream};

fn task(latency: f64, service: f64) -> Task {
    Task {
        latency,
        service,
        boot: 20.0,
        minimum: 60.0,
        max_workers: 15,
    }
}

fn tube(random: &mut Random, points: usize) -> Tube {
    let mut most = vec![0.0];
    for point in 1..points {
        let more = if random.chance(0.5) {
            random.below(5) as f64
        } else {
            0.0
        };
        most.push(most[point - 1] + more);
    }
    let delay = 1 + random.below(3);
    let mut least: Vec<_> = (0..points)
        .map(|it| most[it.saturating_sub(delay)])
        .collect();
    least[..delay.min(points)].fill(0.0);
    least[points - 1] = most[points - 1];
    Tube {
        step: 1.0,
        least,
        most,
    }
}

fn at(path: &[(f64, f64)], time: f64) -> f64 {
    let after = path.partition_point(|corner| corner.0 < time).max(1);
    let (left, right) = (path[after - 1], path[after]);
    left.1 + (right.1 - left.1) * (time - left.0) / (right.0 - left.0)
}

#[test]
fn a_string_stays_within_its_bounds_and_has_the_lowest_peak() {
    let mut random = Random::new(5, Stream::Arrivals);
    for case in 0..2_000 {
        let points = 3 + random.below(12);
        let bounds = tube(&mut random, points);
        let path = bounds.string();
        assert_eq!(path.first(), Some(&(0.0, 0.0)));
        assert_eq!(
            path.last(),
            Some(&((points - 1) as f64, bounds.least[points - 1]))
        );
        for point in 0..points {
            let served = at(&path, point as f64);
            assert!(
                served >= bounds.least[point] - 1e-9 && served <= bounds.most[point] + 1e-9,
                "case {case}: {bounds:?} {path:?}"
            );
        }
        // No path can rise less than from an upper bound to a later lower one.
        let rises = (0..points).flat_map(|from| (from + 1..points).map(move |to| (from, to)));
        let needed = rises
            .map(|(from, to)| (bounds.least[to] - bounds.most[from]) / (to - from) as f64)
            .fold(0.0, f64::max);
        let peak = loads(&path, 1.0).map(|load| load.2).fold(0.0, f64::max);
        assert!(
            (peak - needed).abs() < 1e-9,
            "case {case}: {peak} {needed} {bounds:?} {path:?}"
        );
    }
}

#[test]
fn a_string_varies_less_than_any_path_of_whole_numbers() {
    let mut random = Random::new(6, Stream::Arrivals);
    for _ in 0..200 {
        let points = 3 + random.below(4);
        let bounds = tube(&mut random, points);
        let path = bounds.string();
        let rates: Vec<_> = (1..points)
            .map(|it| at(&path, it as f64) - at(&path, it as f64 - 1.0))
            .collect();
        let ours = variation(&rates);
        let least = least_variation(&bounds, &mut vec![0.0]);
        assert!(ours <= least + 1e-9, "{ours} {least} {bounds:?} {path:?}");
    }
}

fn variation(rates: &[f64]) -> f64 {
    rates.windows(2).map(|pair| (pair[1] - pair[0]).abs()).sum()
}

/// By trying all.
fn least_variation(bounds: &Tube, served: &mut Vec<f64>) -> f64 {
    let point = served.len();
    if point == bounds.least.len() {
        let rates: Vec<_> = served.windows(2).map(|pair| pair[1] - pair[0]).collect();
        return variation(&rates);
    }
    let mut least = f64::INFINITY;
    let mut next = bounds.least[point].max(served[point - 1]);
    while next <= bounds.most[point] {
        served.push(next);
        least = least.min(least_variation(bounds, served));
        served.pop();
        next += 1.0;
    }
    least
}

#[test]
fn stopping_between_periods_is_as_cheap_as_the_best_of_all_choices() {
    let mut random = Random::new(7, Stream::Arrivals);
    for _ in 0..1_000 {
        let mut now = 0.0;
        let periods: Vec<_> = (0..1 + random.below(7))
            .map(|_| {
                let begin = now + 100.0 * random.unit();
                now = begin + 50.0 * random.unit();
                (begin, now)
            })
            .collect();
        let choices = 0..1_u32 << (periods.len() - 1);
        let by_trying = choices
            .map(|stops| cost_with_stops(&periods, stops))
            .fold(f64::INFINITY, f64::min);
        let found = one_worker(&periods, 20.0, 60.0);
        assert!(
            (found - by_trying).abs() < 1e-6,
            "{found} {by_trying} {periods:?}"
        );
    }
}

/// With a stop after each period whose bit is set.
fn cost_with_stops(periods: &[(f64, f64)], stops: u32) -> f64 {
    let (mut cost, mut begin) = (0.0, periods[0].0);
    for (index, period) in periods.iter().enumerate() {
        if index + 1 == periods.len() || stops & (1 << index) != 0 {
            cost += (20.0 + period.1 - begin).max(60.0);
            begin = periods.get(index + 1).map_or(0.0, |next| next.0);
        }
    }
    cost
}

#[test]
fn one_request_costs_the_minimum_of_one_start() {
    let found = optimum(&[5_000_000], task(2.0, 0.5));
    assert_eq!((found.billed, found.most_workers), (60.0, 1));
    assert_eq!(found.latency, 2.0);
}

#[test]
fn an_even_load_costs_its_workers_and_their_boots() {
    // 10 a second for 1,000 s at 0.25 s each: 2.5 workers' worth of work.
    let arrivals: Vec<_> = (0..10_000).map(|it| it * 100_000).collect();
    let found = optimum(&arrivals, task(2.0, 0.25));
    assert_eq!(found.most_workers, 3);
    let work = 10_000.0 * 0.25;
    assert!(
        found.billed >= work && found.billed <= 3.0 * 1_022.1,
        "{found:?}"
    );
}

#[test]
fn too_few_workers_take_longer() {
    // 100 requests at 0.3 s each keep 15 workers busy for 2 s; in one second it takes 30.
    let arrivals = vec![5_000_000; 100];
    let found = optimum(&arrivals, task(1.0, 0.3));
    assert_eq!(found.most_workers, 15);
    assert!((found.latency - 2.0).abs() < 0.1, "{found:?}");
    let found = optimum(&arrivals, task(10.0, 0.3));
    assert_eq!((found.most_workers, found.billed), (3, 180.0));
}

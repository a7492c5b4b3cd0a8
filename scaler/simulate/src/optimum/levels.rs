//! From the number of workers over time to their cost.

/// Returns the instance seconds billed for `needs`: pieces of begin, end and number of workers, in order, without gaps.
pub fn billed(needs: &[(f64, f64, u32)], boot: f64, minimum: f64) -> f64 {
    let most = needs.iter().map(|need| need.2).max().unwrap_or(0);
    (1..=most)
        .map(|level| one_worker(&periods(needs, level), boot, minimum))
        .sum()
}

/// Returns when at least `level` workers are needed.
fn periods(needs: &[(f64, f64, u32)], level: u32) -> Vec<(f64, f64)> {
    let mut periods: Vec<(f64, f64)> = Vec::new();
    for &(from, to, _) in needs.iter().filter(|need| need.2 >= level) {
        match periods.last_mut() {
            Some(last) if from <= last.1 => last.1 = to,
            _ => periods.push((from, to)),
        }
    }
    periods
}

/// Returns the least cost of one worker that is ready in all periods, and may be stopped between them.
pub fn one_worker(periods: &[(f64, f64)], boot: f64, minimum: f64) -> f64 {
    let mut runs: Vec<(f64, f64)> = Vec::new();
    for &(from, to) in periods {
        match runs.last_mut() {
            // Staying up costs no more than booting again.
            Some(last) if from - last.1 <= boot => last.1 = to,
            _ => runs.push((from, to)),
        }
    }
    // Staying up longer pays only because of the billing minimum; best[i] is the least cost of the first i runs.
    let mut best = vec![0.0];
    for end in 0..runs.len() {
        let mut least = f64::INFINITY;
        for begin in (0..=end).rev() {
            let up = boot + runs[end].1 - runs[begin].0;
            least = least.min(best[begin] + up.max(minimum));
            // Staying up over a longer gap costs more than a boot and two minimums could save.
            if begin > 0 && runs[begin].0 - runs[begin - 1].1 > boot + 2.0 * minimum {
                break;
            }
        }
        best.push(least);
    }
    best[runs.len()]
}
